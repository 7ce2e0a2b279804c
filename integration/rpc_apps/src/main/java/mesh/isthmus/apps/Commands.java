package mesh.isthmus.apps;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.LinkedHashMap;
import java.util.Map;

/** Reads calls from standard input, one a line ({@code METHOD ARGUMENT [header=value]...}), and prints how each ended. */
final class Commands {
    private Commands() {
    }

    /** Puts headers into the next call. */
    interface Headers {
        void set(Map<String, String> headers);
    }

    static void serve(Greeter greeter, Headers headers) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            Map<String, String> wanted = new LinkedHashMap<>();
            for (int index = 2; index < words.length; index++) {
                String[] pair = words[index].split("=", 2);
                wanted.put(pair[0], pair[1]);
            }
            try {
                headers.set(wanted);
                System.out.println("ok " + call(greeter, words[0], words[1]));
            } catch (Throwable error) {
                System.out.println("error " + error.getClass().getName() + " " + String.valueOf(error.getMessage()).replace('\n', ' '));
            }
        }
    }

    private static String call(Greeter greeter, String method, String argument) {
        switch (method) {
            case "greet":
                return greeter.greet(argument);
            case "slow":
                return greeter.slow(Long.parseLong(argument));
            case "fail":
                return greeter.fail(argument);
            case "tell":
                greeter.tell(argument);
                return "";
            case "told":
                return String.valueOf(greeter.told());
            default:
                throw new IllegalArgumentException(method);
        }
    }
}
