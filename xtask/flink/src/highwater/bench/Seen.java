package highwater.bench;

import java.util.ArrayList;
import java.util.List;

/** What source and sinks of the one job of this process have seen. */
final class Seen {
    private static long beganNanos;
    private static long endedNanos;
    private static long rows;
    private static long sum;
    private static final List<Change> CHANGES = new ArrayList<>();

    /** A row of the result, as text: it came, or it was taken back. */
    static final class Change {
        /** What identifies the row, if it takes the place of the one before that has the same; else null. */
        final String key;

        final String row;
        final boolean came;

        Change(String key, String row, boolean came) {
            this.key = key;
            this.row = row;
            this.came = came;
        }
    }

    private Seen() {}

    /** A source emits its first row. */
    static synchronized void began() {
        if (beganNanos == 0) {
            beganNanos = System.nanoTime();
        }
    }

    /** A sink has seen the end of its input. */
    static synchronized void ended(long itsRows, long itsSum, List<Change> itsChanges) {
        endedNanos = System.nanoTime();
        rows += itsRows;
        sum += itsSum;
        CHANGES.addAll(itsChanges);
    }

    static synchronized double seconds() {
        return (endedNanos - beganNanos) / 1e9;
    }

    static synchronized long rows() {
        return rows;
    }

    static synchronized long sum() {
        return sum;
    }

    /** Those of one sink in their order, so those of one key too. */
    static synchronized List<Change> changes() {
        return CHANGES;
    }
}
