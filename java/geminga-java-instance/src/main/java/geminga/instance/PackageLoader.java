package geminga.instance;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * The classes of a user's package. What the package brings is taken from it, whatever this program has of the same name; the classes
 * that both sides speak through (the functions, connector and client API, slf4j, Avro, and Jackson, whose trees are records) are this program's.
 *
 * <p>Source: Pulsar takes these from its {@code java-instance.jar}, which is why user jars treat them as provided.
 */
final class PackageLoader extends URLClassLoader {
    private static final String[] SHARED = {
        "java.", "org.apache.pulsar.functions.api.", "org.apache.pulsar.io.core.", "org.apache.pulsar.client.api.", "org.apache.pulsar.client.admin.",
        "org.apache.pulsar.client.internal.", "org.apache.pulsar.common.", "org.slf4j.", "org.apache.avro.",
        "com.fasterxml.jackson.annotation.", "com.fasterxml.jackson.core.", "com.fasterxml.jackson.databind.",
    };
    private static final String NAR_LIBRARIES = "META-INF/bundled-dependencies/";

    static {
        registerAsParallelCapable();
    }

    private PackageLoader(URL[] urls, ClassLoader parent) {
        super(urls, parent);
    }

    /** Opens a jar, or a NAR, whose libraries are unpacked below {@code workDir}. */
    static PackageLoader open(String file, Path workDir) throws IOException {
        List<URL> urls = new ArrayList<>();
        urls.add(url(new File(file)));
        try (ZipFile zip = new ZipFile(file)) {
            for (ZipEntry entry : Collections.list(zip.entries())) {
                String name = entry.getName();
                if (name.startsWith(NAR_LIBRARIES) && name.endsWith(".jar")) {
                    String library = name.substring(NAR_LIBRARIES.length());
                    if (library.indexOf('/') >= 0 || library.indexOf('\\') >= 0) {
                        throw new IOException(name + " is not directly in " + NAR_LIBRARIES);
                    }
                    Path target = Files.createDirectories(workDir.resolve("bundled-dependencies")).resolve(library);
                    try (InputStream in = zip.getInputStream(entry)) {
                        Files.copy(in, target, StandardCopyOption.REPLACE_EXISTING);
                    }
                    urls.add(url(target.toFile()));
                }
            }
        } catch (IOException e) {
            throw new IOException(file + " cannot be read as a jar: " + e.getMessage(), e);
        }
        return new PackageLoader(urls.toArray(URL[]::new), PackageLoader.class.getClassLoader());
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        synchronized (getClassLoadingLock(name)) {
            Class<?> found = findLoadedClass(name);
            if (found == null && isShared(name)) {
                try {
                    found = getParent().loadClass(name);
                } catch (ClassNotFoundException e) {
                    found = findClass(name); // not part of what is here, such as Pulsar's own examples: the package may bring it
                }
            }
            if (found == null) {
                try {
                    found = findClass(name);
                } catch (ClassNotFoundException e) {
                    found = getParent().loadClass(name);
                }
            }
            if (resolve) {
                resolveClass(found);
            }
            return found;
        }
    }

    @Override
    public URL getResource(String name) {
        URL own = findResource(name);
        return own == null ? super.getResource(name) : own;
    }

    @Override
    public Enumeration<URL> getResources(String name) throws IOException {
        List<URL> all = Collections.list(findResources(name));
        for (URL url : Collections.list(getParent().getResources(name))) {
            if (!all.contains(url)) {
                all.add(url);
            }
        }
        return Collections.enumeration(all);
    }

    private static boolean isShared(String name) {
        for (String prefix : SHARED) {
            if (name.startsWith(prefix)) {
                return true;
            }
        }
        return false;
    }

    private static URL url(File file) {
        try {
            return file.toURI().toURL();
        } catch (MalformedURLException e) {
            throw new UncheckedIOException(e);
        }
    }
}
