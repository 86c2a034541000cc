package geminga.instance;

import java.util.List;

/** One call of the user's function, from its inputs to its outcome. */
final class Invocation {
    final long id;
    /** One message, or the elements of a window. */
    final List<Input> inputs;
    final Effects effects = new Effects();
    final long startedNanos = System.nanoTime();
    /** Set once somebody said how it ended. */
    private boolean hasEnded;
    /** User code called {@code fail} on its record. */
    volatile boolean isFailed;

    Invocation(long id, List<Input> inputs) {
        this.id = id;
        this.inputs = inputs;
    }

    /** True for the first who asks: an invocation has one outcome. */
    synchronized boolean end() {
        boolean isFirst = !hasEnded;
        hasEnded = true;
        return isFirst;
    }

    synchronized boolean hasEnded() {
        return hasEnded;
    }
}
