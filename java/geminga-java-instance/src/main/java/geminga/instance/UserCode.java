package geminga.instance;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import org.apache.pulsar.functions.api.Function;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.functions.api.WindowContext;
import org.apache.pulsar.functions.api.WindowFunction;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.Source;

/**
 * The user's function, source or sink: which of the interfaces it is, what it takes and gives, and how it is called.
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
    private final Boolean isConcurrent;

    private UserCode(Object function, boolean isWindowed, Type inputType, Type outputType, Boolean isConcurrent) {
        this.isConcurrent = isConcurrent;
        this.function = function;
        this.isWindowed = isWindowed;
        this.inputType = inputType;
        this.outputType = outputType;
    }

    /** Loads the class and makes its object. */
    static UserCode load(Hello hello, ClassLoader loader) throws Unusable {
        String className = hello.className.isEmpty() ? Connectors.className(hello, loader) : hello.className;
        if (className.isEmpty()) {
            throw new Unusable("className is missing: a Java " + hello.kind + " needs the name of its class", null);
        }
        Class<?> type;
        try {
            type = Class.forName(className, true, loader);
        } catch (ClassNotFoundException e) {
            throw new Unusable("class " + className + " is not in the package", null);
        } catch (LinkageError e) {
            throw new Unusable("class " + className + " cannot be loaded: " + e, e.getCause() == null ? e : e.getCause());
        }
        Class<?> role = hello.isSource() || hello.isSink() ? Connectors.role(type, hello) : role(type, hello.isWindowed);
        Type[] arguments = GenericTypes.arguments(type, role);
        if (role == Source.class || role == BatchSource.class) {
            Type output = configured(List.of(hello.output), loader);
            Class<?> input = role == BatchSource.class ? byte[].class : Void.class; // its tasks
            return new UserCode(make(type), false, input, known(output == null ? arguments[0] : output, type, role, "gives"), null);
        }
        if (role == Sink.class) {
            Type input = configured(hello.inputs.values(), loader);
            // It may gather many before it acknowledges the first.
            return new UserCode(make(type), false, known(input == null ? arguments[0] : input, type, role, "takes"), Void.class, true);
        }
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
        known(input, type, role, "takes");
        Type output = configured(List.of(hello.output), loader);
        if (output == null) {
            output = unwrapped(arguments[1]);
        }
        return new UserCode(make(type), hello.isWindowed, input, known(output, type, role, "returns"), isLater(arguments[1]));
    }

    /** Whether what it returns may come later; null when its type does not say. */
    private static Boolean isLater(Type returned) {
        Class<?> raw = returned == null ? null : GenericTypes.raw(returned);
        boolean isOpen = raw == null || !CompletionStage.class.isAssignableFrom(raw) && raw.isAssignableFrom(CompletableFuture.class);
        return isOpen ? null : CompletionStage.class.isAssignableFrom(raw);
    }

    private static Type known(Type value, Class<?> type, Class<?> role, String does) throws Unusable {
        if (value == null || GenericTypes.raw(value) == null) {
            throw new Unusable("what " + type.getName() + " " + does + " cannot be told: it leaves the type of " + role.getName()
                + " open; name it in the class or as typeClassName", null);
        }
        return value;
    }

    String name() {
        return function.getClass().getName();
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

    void initialize(FunctionContext context) throws Exception {
        if (function instanceof BatchSource<?> source) {
            source.open(context.connectorConfig(), context);
        } else if (function instanceof Source<?> source) {
            source.open(context.connectorConfig(), context);
        } else if (function instanceof Sink<?> sink) {
            sink.open(context.connectorConfig(), context);
        } else if (function instanceof Function<?, ?> plain) {
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
        if (function instanceof Sink<?> sink) {
            CompletionStage<Void> settled = input.settledByUser();
            ((Sink<Object>) sink).write(input);
            return settled;
        }
        if (function instanceof Function<?, ?> plain) {
            return ((Function<Object, Object>) plain).process(input.getValue(), context);
        }
        return ((java.util.function.Function<Object, Object>) function).apply(input.getValue());
    }

    /** The next record of a source; it waits until there is one. */
    Record<?> read() throws Exception {
        return ((Source<?>) function).read();
    }

    /** Itself, where its records come from tasks. */
    BatchSource<?> batchSource() {
        return (BatchSource<?>) function;
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

    /** Whether it may be called while others have not ended; null when that is not known. */
    Boolean isConcurrent() {
        return isConcurrent;
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

    static Object make(Class<?> type) throws Unusable {
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
