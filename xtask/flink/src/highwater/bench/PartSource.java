package highwater.bench;

import java.io.Serializable;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * A stream in parts, part i read by subtask i. Which row comes next follows from how many have come, so that number is all
 * the state there is.
 */
final class PartSource<T> implements Source<T, PartSource.Split, Boolean>, ResultTypeQueryable<T> {
    private static final long serialVersionUID = 1;

    /** Rows for each call of the reader: fewer calls than with Flink's own readers, which emit one. */
    private static final int BATCH = 64;

    /** The rows of a part, one after the other. */
    interface Part<T> {
        /** The next row, null after the last. */
        T next();
    }

    /** Opens a part at its beginning. */
    interface Parts<T> extends Serializable {
        Part<T> open(int part);
    }

    /** A part, of which so many rows have been emitted. */
    static final class Split implements SourceSplit {
        private final int part;
        private final long emitted;

        Split(int part, long emitted) {
            this.part = part;
            this.emitted = emitted;
        }

        @Override
        public String splitId() {
            return "part " + part;
        }
    }

    private final int count;
    private final Parts<T> parts;
    private final TypeInformation<T> type;

    PartSource(int count, Parts<T> parts, TypeInformation<T> type) {
        this.count = count;
        this.parts = parts;
        this.type = type;
    }

    @Override
    public TypeInformation<T> getProducedType() {
        return type;
    }

    /** As a stream that goes on, though it ends: so that the planner does not take it for a batch. */
    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SourceReader<T, Split> createReader(SourceReaderContext context) {
        return new Reader();
    }

    @Override
    public SplitEnumerator<Split, Boolean> createEnumerator(SplitEnumeratorContext<Split> context) {
        return new Enumerator(context, true);
    }

    @Override
    public SplitEnumerator<Split, Boolean> restoreEnumerator(SplitEnumeratorContext<Split> context, Boolean fresh) {
        return new Enumerator(context, false);
    }

    @Override
    public SimpleVersionedSerializer<Split> getSplitSerializer() {
        return new SimpleVersionedSerializer<Split>() {
            @Override
            public int getVersion() {
                return 1;
            }

            @Override
            public byte[] serialize(Split split) {
                return ByteBuffer.allocate(12).putInt(split.part).putLong(split.emitted).array();
            }

            @Override
            public Split deserialize(int version, byte[] bytes) {
                ByteBuffer buffer = ByteBuffer.wrap(bytes);
                return new Split(buffer.getInt(), buffer.getLong());
            }
        };
    }

    @Override
    public SimpleVersionedSerializer<Boolean> getEnumeratorCheckpointSerializer() {
        return new SimpleVersionedSerializer<Boolean>() {
            @Override
            public int getVersion() {
                return 1;
            }

            @Override
            public byte[] serialize(Boolean fresh) {
                return new byte[0];
            }

            @Override
            public Boolean deserialize(int version, byte[] bytes) {
                return false;
            }
        };
    }

    /** Assigns each part once: a restored reader has its own already. */
    private final class Enumerator implements SplitEnumerator<Split, Boolean> {
        private final SplitEnumeratorContext<Split> context;
        private final boolean fresh;

        Enumerator(SplitEnumeratorContext<Split> context, boolean fresh) {
            this.context = context;
            this.fresh = fresh;
        }

        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int subtask, String host) {}

        @Override
        public void addSplitsBack(List<Split> splits, int subtask) {
            splits.forEach(split -> context.assignSplit(split, subtask));
        }

        @Override
        public void addReader(int subtask) {
            for (int part = subtask; fresh && part < count; part += context.currentParallelism()) {
                context.assignSplit(new Split(part, 0), subtask);
            }
            context.signalNoMoreSplits(subtask);
        }

        @Override
        public Boolean snapshotState(long checkpoint) {
            return fresh;
        }

        @Override
        public void close() {}
    }

    private final class Reader implements SourceReader<T, Split> {
        private final List<Open> open = new ArrayList<>();
        private final CompletableFuture<Void> available = new CompletableFuture<>();
        private boolean complete;

        @Override
        public void start() {}

        @Override
        public InputStatus pollNext(ReaderOutput<T> output) {
            for (Open part : open) {
                if (part.emit(output)) {
                    return InputStatus.MORE_AVAILABLE;
                }
            }
            return complete ? InputStatus.END_OF_INPUT : InputStatus.NOTHING_AVAILABLE;
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return available;
        }

        @Override
        public List<Split> snapshotState(long checkpoint) {
            List<Split> splits = new ArrayList<>();
            open.forEach(part -> splits.add(new Split(part.index, part.emitted)));
            return splits;
        }

        @Override
        public void addSplits(List<Split> splits) {
            splits.forEach(split -> open.add(new Open(split)));
        }

        @Override
        public void notifyNoMoreSplits() {
            complete = true;
            available.complete(null);
        }

        @Override
        public void close() {}
    }

    /** A part that is being read. */
    private final class Open {
        private final int index;
        private final Part<T> rows;
        private long emitted;
        private boolean ended;

        Open(Split split) {
            index = split.part;
            rows = parts.open(index);
            while (emitted < split.emitted) {
                rows.next();
                emitted++;
            }
        }

        /** Emits a batch; false if there is nothing left. */
        boolean emit(ReaderOutput<T> output) {
            if (ended) {
                return false;
            }
            Seen.began();
            for (int left = BATCH; left > 0; left--) {
                T row = rows.next();
                if (row == null) {
                    ended = true;
                    return true;
                }
                emitted++;
                output.collect(row);
            }
            return true;
        }
    }
}
