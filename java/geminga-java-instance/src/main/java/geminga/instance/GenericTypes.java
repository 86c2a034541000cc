package geminga.instance;

import java.lang.reflect.GenericArrayType;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.util.HashMap;
import java.util.Map;

/** Finds what a class put in place of the type parameters of an interface that it, or one above it, implements. */
public final class GenericTypes {
    private GenericTypes() {}

    /**
     * The arguments for {@code target}'s parameters as {@code from} sees them; null for one that is left open.
     * Null when {@code from} does not implement {@code target}.
     */
    public static Type[] arguments(Class<?> from, Class<?> target) {
        return arguments(from, target, new HashMap<>());
    }

    /** The class behind a type; null when it is left open. */
    public static Class<?> raw(Type type) {
        if (type instanceof Class<?> plain) {
            return plain;
        }
        if (type instanceof ParameterizedType parameterized) {
            return (Class<?>) parameterized.getRawType();
        }
        if (type instanceof GenericArrayType array) {
            Class<?> element = raw(array.getGenericComponentType());
            return element == null ? null : element.arrayType();
        }
        if (type instanceof WildcardType wildcard) {
            return raw(wildcard.getUpperBounds()[0]);
        }
        return null;
    }

    /** The first argument of a parameterized type; null when there is none. */
    public static Type first(Type type) {
        return type instanceof ParameterizedType parameterized ? parameterized.getActualTypeArguments()[0] : null;
    }

    private static Type[] arguments(Type type, Class<?> target, Map<TypeVariable<?>, Type> known) {
        Class<?> raw = raw(type);
        if (raw == null || !target.isAssignableFrom(raw)) {
            return null;
        }
        if (type instanceof ParameterizedType parameterized) {
            TypeVariable<?>[] variables = raw.getTypeParameters();
            Type[] given = parameterized.getActualTypeArguments();
            for (int i = 0; i < variables.length; i++) {
                known.put(variables[i], resolved(given[i], known));
            }
        }
        if (raw == target) {
            TypeVariable<?>[] variables = target.getTypeParameters();
            Type[] arguments = new Type[variables.length];
            for (int i = 0; i < variables.length; i++) {
                arguments[i] = known.get(variables[i]);
            }
            return arguments;
        }
        for (Type above : raw.getGenericInterfaces()) {
            Type[] arguments = arguments(above, target, known);
            if (arguments != null) {
                return arguments;
            }
        }
        return raw.getGenericSuperclass() == null ? null : arguments(raw.getGenericSuperclass(), target, known);
    }

    /** Replaces variables, also within the arguments of a type; null for one that is left open. */
    private static Type resolved(Type type, Map<TypeVariable<?>, Type> known) {
        if (type instanceof TypeVariable<?> variable) {
            return known.get(variable);
        }
        if (type instanceof ParameterizedType parameterized) {
            Type[] given = parameterized.getActualTypeArguments();
            Type[] arguments = new Type[given.length];
            boolean isChanged = false;
            for (int i = 0; i < given.length; i++) {
                Type argument = resolved(given[i], known);
                arguments[i] = argument == null ? Object.class : argument;
                isChanged |= arguments[i] != given[i];
            }
            return isChanged ? new Filled((Class<?>) parameterized.getRawType(), arguments) : type;
        }
        return type;
    }

    /** A parameterized type whose variables were replaced. */
    private record Filled(Class<?> raw, Type[] arguments) implements ParameterizedType {
        @Override
        public Type[] getActualTypeArguments() {
            return arguments.clone();
        }

        @Override
        public Type getRawType() {
            return raw;
        }

        @Override
        public Type getOwnerType() {
            return raw.getDeclaringClass();
        }
    }
}
