package geminga.instance;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.Source;

/** Which class of a package is its source or its sink. */
final class Connectors {
    /** What a NAR says of itself. Source: Pulsar's {@code ConnectorUtils}. */
    private static final String DEFINITION = "META-INF/services/pulsar-io.yaml";

    private Connectors() {}

    /** The class that the package itself names; empty when it names none. */
    static String className(Hello hello, ClassLoader loader) throws UserCode.Unusable {
        if (!hello.isSource() && !hello.isSink()) {
            return "";
        }
        String member = hello.kind + "Class:";
        try (InputStream definition = loader.getResourceAsStream(DEFINITION)) {
            if (definition == null) {
                return "";
            }
            // One name and one text in each line: it is Pulsar's ConnectorDefinition, which is flat.
            return new BufferedReader(new InputStreamReader(definition, StandardCharsets.UTF_8)).lines()
                .filter(line -> line.startsWith(member))
                .map(line -> line.substring(member.length()).replaceAll("\\s#.*", "").replaceAll("[\"'\\s]", ""))
                .findFirst().orElse("");
        } catch (IOException | RuntimeException e) {
            throw new UserCode.Unusable(DEFINITION + " cannot be read: " + e, null);
        }
    }

    static Class<?> role(Class<?> type, Hello hello) throws UserCode.Unusable {
        Class<?> role = hello.isSource() ? Source.class : Sink.class;
        if (role.isAssignableFrom(type)) {
            return role;
        }
        if (BatchSource.class.isAssignableFrom(type)) {
            throw new UserCode.Unusable(type.getName() + " is a BatchSource, which is not supported: implement " + Source.class.getName(), null);
        }
        throw new UserCode.Unusable(type.getName() + " does not implement " + role.getName(), null);
    }
}
