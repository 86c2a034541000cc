package geminga.instance;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.BatchSourceTriggerer;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.Source;

/** Which class of a package is its function, its source or its sink. */
final class Connectors {
    /** What a NAR says of itself. Source: Pulsar's {@code ConnectorUtils} and {@code FunctionUtils}. */
    private static final String DEFINITION = "META-INF/services/pulsar-io.yaml";
    private static final String TRIGGERERS = "org.apache.pulsar.io.batchdiscovery.";

    private Connectors() {}

    /** The class that the package itself names; empty when it names none. */
    static String className(Hello hello, ClassLoader loader) throws UserCode.Unusable {
        String member = hello.kind + "Class:";
        try (InputStream definition = loader.getResourceAsStream(DEFINITION)) {
            if (definition == null) {
                return "";
            }
            // One name and one text in each line: it is Pulsar's ConnectorDefinition or FunctionDefinition, which are flat.
            return new BufferedReader(new InputStreamReader(definition, StandardCharsets.UTF_8)).lines()
                .filter(line -> line.startsWith(member))
                .map(line -> line.substring(member.length()).replaceAll("\\s#.*", "").replaceAll("[\"'\\s]", ""))
                .findFirst().orElse("");
        } catch (IOException | RuntimeException e) {
            throw new UserCode.Unusable(DEFINITION + " cannot be read: " + e, null);
        }
    }

    static Class<?> role(Class<?> type, Hello hello) throws UserCode.Unusable {
        Class<?> role = hello.batch != null ? BatchSource.class : hello.isSource() ? Source.class : Sink.class;
        if (role.isAssignableFrom(type)) {
            return role;
        }
        if (hello.isSource() && BatchSource.class.isAssignableFrom(type)) {
            throw new UserCode.Unusable(type.getName() + " is a BatchSource, and needs a batchSourceConfig with a discoveryTriggererClassName", null);
        }
        throw new UserCode.Unusable(type.getName() + " does not implement " + role.getName()
            + (hello.batch == null ? "" : ", and the source has a batchSourceConfig"), null);
    }

    /** Makes what tells a batch source when to look for tasks. */
    static BatchSourceTriggerer triggerer(Hello.Batch batch, ClassLoader loader) throws UserCode.Unusable {
        String name = batch.triggererClass();
        Class<?> type;
        try {
            type = Class.forName(name, true, loader);
        } catch (ClassNotFoundException e) {
            String where = name.startsWith(TRIGGERERS) ? ": add org.apache.pulsar:pulsar-io-batch-discovery-triggerers to it" : "";
            throw new UserCode.Unusable("class " + name + " is not in the package" + where, null);
        } catch (LinkageError e) {
            throw new UserCode.Unusable("class " + name + " cannot be loaded: " + e, e.getCause() == null ? e : e.getCause());
        }
        if (!BatchSourceTriggerer.class.isAssignableFrom(type)) {
            throw new UserCode.Unusable(name + " does not implement " + BatchSourceTriggerer.class.getName(), null);
        }
        return (BatchSourceTriggerer) UserCode.make(type);
    }
}
