package geminga;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The official Java client against any Pulsar broker.
 *
 * <p>Usage: {@code Interop SERVICE_URL ADMIN_URL [FILTER]}. Prints {@code ok NAME}, {@code FAIL NAME: why} or
 * {@code skip NAME: why} for each scenario whose name contains FILTER. Scenario names mean the same in every language.
 * {@code reconnect} prints {@code ready-for-restart} and waits for a line on standard input, by which time the broker has
 * been restarted.
 */
public final class Interop {
    private static final int SCENARIO_SECONDS = 90;

    /** A scenario saw something other than what was promised. */
    static final class Failure extends RuntimeException {
        Failure(String why) {
            super(why);
        }
    }

    /** What the scenario is about does not apply to this broker. */
    static final class Skip extends RuntimeException {
        Skip(String why) {
            super(why);
        }
    }

    @FunctionalInterface
    interface Scenario {
        void run(Box box) throws Exception;
    }

    public static void main(String[] args) {
        String filter = args.length > 2 ? args[2] : "";
        int failed = 0;
        for (var scenario : Scenarios.all().entrySet()) {
            if (scenario.getKey().contains(filter)) {
                String said = outcome(scenario.getKey(), scenario.getValue(), args[0], args[1]);
                failed += said.startsWith("FAIL") ? 1 : 0;
                System.out.println(said.replace('\n', ' '));
                System.out.flush();
            }
        }
        Runtime.getRuntime().halt(Math.min(failed, 100)); // threads of a hung scenario must not hold the process
    }

    private static String outcome(String name, Scenario scenario, String service, String admin) {
        var done = new CompletableFuture<Void>();
        Thread thread = new Thread(() -> {
            try (Box box = new Box(name, service, admin)) {
                scenario.run(box);
                done.complete(null);
            } catch (Throwable error) {
                done.completeExceptionally(error);
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
        try {
            done.get(SCENARIO_SECONDS, TimeUnit.SECONDS);
            return "ok " + name;
        } catch (TimeoutException late) {
            return "FAIL " + name + ": no end after " + SCENARIO_SECONDS + " s";
        } catch (InterruptedException stopped) {
            return "FAIL " + name + ": interrupted";
        } catch (ExecutionException wrapped) {
            Throwable error = wrapped.getCause();
            if (error instanceof Skip) {
                return "skip " + name + ": " + error.getMessage();
            }
            if (error instanceof Failure) {
                return "FAIL " + name + ": " + error.getMessage();
            }
            error.printStackTrace(); // a client's error is a failure of the scenario, with its type
            return "FAIL " + name + ": " + error;
        }
    }
}
