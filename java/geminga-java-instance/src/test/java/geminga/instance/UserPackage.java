package geminga.instance;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;

/** A jar with classes of the tests, as a user would bring it. */
final class UserPackage {
    private UserPackage() {}

    /** With the classes that these are nested in. */
    static Path of(Class<?>... classes) throws IOException {
        return with("", "", classes);
    }

    /** With a file of its own too, unless its name is empty. */
    static Path with(String entry, String text, Class<?>... classes) throws IOException {
        Set<Class<?>> all = new LinkedHashSet<>();
        for (Class<?> type : classes) {
            for (Class<?> next = type; next != null; next = next.getEnclosingClass()) {
                all.add(next);
            }
        }
        Files.createDirectories(Path.of("target/packages"));
        Path jar = Files.createTempFile(Path.of("target/packages"), "package", ".jar").toAbsolutePath();
        try (OutputStream file = Files.newOutputStream(jar); JarOutputStream out = new JarOutputStream(file)) {
            for (Class<?> type : all) {
                String name = type.getName().replace('.', '/') + ".class";
                out.putNextEntry(new JarEntry(name));
                try (InputStream in = type.getClassLoader().getResourceAsStream(name)) {
                    in.transferTo(out);
                }
            }
            if (!entry.isEmpty()) {
                out.putNextEntry(new JarEntry(entry));
                out.write(text.getBytes(StandardCharsets.UTF_8));
            }
        }
        return jar;
    }
}
