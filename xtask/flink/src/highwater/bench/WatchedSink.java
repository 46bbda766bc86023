package highwater.bench;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/** Drops rows, after counting them, adding up what they are worth, or keeping what they say. */
final class WatchedSink<T> implements Sink<T> {
    private static final long serialVersionUID = 1;

    /** What a row adds to the sum. */
    interface Worth<T> extends Serializable {
        long of(T row);
    }

    /** What is kept of a row. */
    interface Keep<T> extends Serializable {
        Seen.Change of(T row);
    }

    private final Worth<T> worth;
    private final Keep<T> keep;

    private WatchedSink(Worth<T> worth, Keep<T> keep) {
        this.worth = worth;
        this.keep = keep;
    }

    static <T> WatchedSink<T> adding(Worth<T> worth) {
        return new WatchedSink<>(worth, null);
    }

    static <T> WatchedSink<T> keeping(Keep<T> keep) {
        return new WatchedSink<>(row -> 0, keep);
    }

    static <T> WatchedSink<T> counting() {
        return new WatchedSink<>(row -> 0, null);
    }

    @Override
    public SinkWriter<T> createWriter(WriterInitContext context) {
        return new Writer();
    }

    private final class Writer implements SinkWriter<T> {
        private final List<Seen.Change> kept = new ArrayList<>();
        private long rows;
        private long sum;

        @Override
        public void write(T row, Context context) {
            rows++;
            sum += worth.of(row);
            if (keep != null) {
                kept.add(keep.of(row));
            }
        }

        @Override
        public void flush(boolean endOfInput) {
            if (endOfInput) {
                Seen.ended(rows, sum, kept);
                rows = 0;
                sum = 0;
                kept.clear();
            }
        }

        @Override
        public void close() {}
    }
}
