package geminga.instance;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CompletionStage;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.functions.api.WindowContext;
import org.apache.pulsar.functions.api.WindowFunction;

/**
 * The user's function: which of the four interfaces it is, what it takes and gives, and how it is called.
 *
 * <p>Source: Pulsar's {@code FunctionCommon.getFunctionTypes}, {@code JavaInstance} and {@code WindowFunctionExecutor}.
 */
final class UserCode {
    /** The function does not run: said to the one who deployed it. */
    static final class Unusable extends Exception {
        private static final long serialVersionUID = 1;

        Unusable(String message, Throwable cause) {
            super(message, cause);
        }
    }

    private final Object function;
    private final boolean isWindowed;
    private final Type inputType;
    private final Type outputType;

    private UserCode(Object function, boolean isWindowed, Type inputType, Type outputType) {
        this.function = function;
        this.isWindowed = isWindowed;
        this.inputType = inputType;
        this.outputType = outputType;
    }

    /** Loads the class and makes its object. */
    static UserCode load(Hello hello, ClassLoader loader) throws Unusable {
        if (hello.className.isEmpty()) {
            throw new Unusable("className is missing: a Java function needs the name of its class", null);
        }
        Class<?> type;
        try {
            type = Class.forName(hello.className, true, loader);
        } catch (ClassNotFoundException e) {
            throw new Unusable("class " + hello.className + " is not in the package", null);
        } catch (LinkageError e) {
            throw new Unusable("class " + hello.className + " cannot be loaded: " + e, e.getCause() == null ? e : e.getCause());
        }
        Class<?> role = role(type, hello.isWindowed);
        Type[] arguments = GenericTypes.arguments(type, role);
        Type input = configured(hello.inputs.values(), loader);
        if (input == null) {
            input = arguments[0];
            if (hello.isWindowed && role == java.util.function.Function.class) {
                if (input == null || !Collection.class.isAssignableFrom(GenericTypes.raw(input))) {
                    throw new Unusable("a window function must take a collection, " + type.getName() + " takes " + input, null);
                }
                input = GenericTypes.first(input);
            }
        }
        if (input == null || GenericTypes.raw(input) == null) {
            throw new Unusable("what " + type.getName() + " takes cannot be told: it leaves the type of " + role.getName()
                + " open; name it in the class or as typeClassName", null);
        }
        Type output = configured(List.of(hello.output), loader);
        if (output == null) {
            output = unwrapped(arguments[1]);
        }
        if (output == null || GenericTypes.raw(output) == null) {
            throw new Unusable("what " + type.getName() + " returns cannot be told: it leaves the type of " + role.getName() + " open", null);
        }
        return new UserCode(make(type), hello.isWindowed, input, output);
    }

    Type inputType() {
        return inputType;
    }

    Type outputType() {
        return outputType;
    }

    boolean returnsNothing() {
        return outputType == Void.class;
    }

    void initialize(Context context) throws Exception {
        if (function instanceof Function<?, ?> plain) {
            plain.initialize(context);
        }
    }

    void close() throws Exception {
        if (function instanceof Function<?, ?> plain) {
            plain.close();
        } else if (function instanceof AutoCloseable closeable) {
            closeable.close();
        }
    }

    /** Calls it with one message. */
    @SuppressWarnings("unchecked")
    Object call(Input input, FunctionContext context) throws Exception {
        if (function instanceof Function<?, ?> plain) {
            return ((Function<Object, Object>) plain).process(input.getValue(), context);
        }
        return ((java.util.function.Function<Object, Object>) function).apply(input.getValue());
    }

    /** Calls it with the elements of a window. */
    @SuppressWarnings("unchecked")
    Object callWindow(List<Input> elements, FunctionContext context) throws Exception {
        if (function instanceof WindowFunction<?, ?> window) {
            return ((WindowFunction<Object, Object>) window).process(new ArrayList<Record<Object>>(elements), (WindowContext) context);
        }
        List<Object> values = new ArrayList<>(elements.size());
        elements.forEach(element -> values.add(element.getValue()));
        return ((java.util.function.Function<Object, Object>) function).apply(values);
    }

    boolean isWindowed() {
        return isWindowed;
    }

    private static Class<?> role(Class<?> type, boolean isWindowed) throws Unusable {
        Class<?> api = isWindowed ? WindowFunction.class : Function.class;
        if (api.isAssignableFrom(type)) {
            return api;
        }
        if (java.util.function.Function.class.isAssignableFrom(type)) {
            return java.util.function.Function.class;
        }
        if (WindowFunction.class.isAssignableFrom(type)) {
            throw new Unusable(type.getName() + " is a WindowFunction, but the function has no windowConfig", null);
        }
        throw new Unusable(type.getName() + " implements neither " + api.getName() + " nor java.util.function.Function", null);
    }

    /** Outputs may come as records and later. */
    private static Type unwrapped(Type output) {
        Class<?> raw = output == null ? null : GenericTypes.raw(output);
        if (raw != null && (Record.class.isAssignableFrom(raw) || CompletionStage.class.isAssignableFrom(raw))) {
            return unwrapped(GenericTypes.first(output));
        }
        return output;
    }

    private static Type configured(Collection<Hello.TopicConfig> topics, ClassLoader loader) throws Unusable {
        for (Hello.TopicConfig topic : topics) {
            if (!topic.typeClass().isEmpty()) {
                try {
                    Class<?> type = Class.forName(topic.typeClass(), false, loader);
                    // A class without its arguments says less than the function's own signature.
                    return type.getTypeParameters().length > 0 ? null : type;
                } catch (ClassNotFoundException e) {
                    throw new Unusable("class " + topic.typeClass() + " is not in the package", null);
                }
            }
        }
        return null;
    }

    private static Object make(Class<?> type) throws Unusable {
        try {
            Constructor<?> constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            return constructor.newInstance();
        } catch (NoSuchMethodException e) {
            throw new Unusable(type.getName() + " has no constructor without arguments", null);
        } catch (InvocationTargetException e) {
            throw new Unusable("the constructor of " + type.getName() + " failed: " + e.getCause(), e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new Unusable(type.getName() + " cannot be made: " + e, null);
        } catch (LinkageError e) {
            throw new Unusable(type.getName() + " cannot be loaded: " + e, e);
        }
    }
}
