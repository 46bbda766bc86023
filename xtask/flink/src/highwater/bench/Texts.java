package highwater.bench;

import java.util.SplittableRandom;

/** Text of events: strings drawn letter by letter, filler cut out of a pool, and the channels of bids. */
final class Texts {
    private static final int SHORTEST = 3;
    private static final int POOL_LENGTH = 1 << 20;
    private static final String POOL = pool(new SplittableRandom(1));

    /** Where bids are made. */
    static final class Channel {
        final String name;
        final String url;

        Channel(String name, String url) {
            this.name = name;
            this.url = url;
        }
    }

    static final Channel[] HOT_CHANNELS = new Channel[4];
    static final Channel[] CHANNELS = new Channel[10_000];

    static {
        SplittableRandom random = new SplittableRandom(2);
        String[] hot = {"Google", "Facebook", "Baidu", "Apple"};
        for (int index = 0; index < hot.length; index++) {
            HOT_CHANNELS[index] = new Channel(hot[index], url(random));
        }
        for (int index = 0; index < CHANNELS.length; index++) {
            String url = url(random);
            if (random.nextInt(10) > 0) {
                url += "&channel_id=" + Math.abs(Integer.reverse(index));
            }
            CHANNELS[index] = new Channel("channel-" + index, url);
        }
    }

    private Texts() {}

    /** A string of 3 to {@code max - 1} characters, without blanks at its ends. */
    static String string(SplittableRandom random, int max, char special) {
        int length = SHORTEST + random.nextInt(max - SHORTEST);
        StringBuilder drawn = new StringBuilder(length);
        for (int left = length; left > 0; left--) {
            drawn.append(random.nextInt(13) == 0 ? special : (char) ('a' + random.nextInt(26)));
        }
        return drawn.toString().trim();
    }

    /** Filler that brings a record of {@code current} bytes to about {@code average}. */
    static String extra(SplittableRandom random, int current, int average) {
        if (current > average) {
            return "";
        }
        int missing = average - current;
        int spread = (int) Math.round(missing * 0.2);
        int length = missing - spread + (spread == 0 ? 0 : random.nextInt(2 * spread));
        int offset = random.nextInt(POOL_LENGTH - length);
        return POOL.substring(offset, offset + length);
    }

    private static String url(SplittableRandom random) {
        String first = string(random, 5, '_');
        String second = string(random, 5, '_');
        String third = string(random, 5, '_');
        return "https://www.nexmark.com/" + first + "/" + second + "/" + third + "/item.htm?query=1";
    }

    private static String pool(SplittableRandom random) {
        StringBuilder pool = new StringBuilder(POOL_LENGTH + 6);
        while (pool.length() < POOL_LENGTH) {
            int drawn = random.nextInt();
            for (int letter = 0; letter < 6; letter++) {
                pool.append((char) ('a' + drawn % 26));
                drawn /= 26;
            }
        }
        pool.setLength(POOL_LENGTH);
        return pool.toString();
    }
}
