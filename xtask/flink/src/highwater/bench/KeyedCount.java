package highwater.bench;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Counts the rows of a key in keyed state and adds up the counts. Row i is its own key, {@code splitmix64(i mod keys)};
 * each of the parallel sources has every n-th.
 */
final class KeyedCount {
    private KeyedCount() {}

    static void build(StreamExecutionEnvironment env, Options options) {
        int parallelism = env.getParallelism();
        long rows = options.number("events");
        long keys = options.number("keys");
        PartSource.Parts<Long> parts = part -> new Rows(part, parallelism, rows, keys);
        env.fromSource(
                        new PartSource<>(parallelism, parts, Types.LONG),
                        WatermarkStrategy.noWatermarks(),
                        "rows",
                        Types.LONG)
                .keyBy(row -> row, Types.LONG)
                .process(new CountRows())
                .returns(Types.TUPLE(Types.LONG, Types.LONG))
                .sinkTo(WatchedSink.adding(row -> row.f1));
    }

    /** Sebastiano Vigna's splitmix64. */
    private static long splitmix64(long index) {
        long z = index + 0x9E3779B97F4A7C15L;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    private static final class Rows implements PartSource.Part<Long> {
        private final int stride;
        private final long rows;
        private final long keys;
        private long next;

        Rows(int part, int stride, long rows, long keys) {
            this.next = part;
            this.stride = stride;
            this.rows = rows;
            this.keys = keys;
        }

        @Override
        public Long next() {
            if (next >= rows) {
                return null;
            }
            long key = splitmix64(next % keys);
            next += stride;
            return key;
        }
    }

    private static final class CountRows extends KeyedProcessFunction<Long, Long, Tuple2<Long, Long>> {
        private static final long serialVersionUID = 1;

        private transient ValueState<Long> count;

        @Override
        public void open(OpenContext context) {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public void processElement(Long row, Context context, Collector<Tuple2<Long, Long>> out) throws Exception {
            Long before = count.value();
            long now = before == null ? 1 : before + 1;
            count.update(now);
            out.collect(Tuple2.of(row, now));
        }
    }
}
