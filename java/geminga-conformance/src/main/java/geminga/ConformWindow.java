package geminga;

import java.util.Collection;
import java.util.function.Function;

/** Puts together what is in a window. */
public final class ConformWindow implements Function<Collection<String>, String> {
    @Override
    public String apply(Collection<String> inputs) {
        return String.join("+", inputs);
    }
}
