package highwater.bench;

import java.util.HashMap;
import java.util.Map;

/** What is to be run: {@code name=value} for each word of the command line. */
final class Options {
    private final Map<String, String> values = new HashMap<>();

    Options(String[] words) {
        for (String word : words) {
            int end = word.indexOf('=');
            if (end < 0) {
                throw new IllegalArgumentException("give name=value, not " + word);
            }
            values.put(word.substring(0, end), word.substring(end + 1));
        }
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException(name + "=.. is missing");
        }
        return value;
    }

    long number(String name) {
        return Long.parseLong(text(name));
    }
}
