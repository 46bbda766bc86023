package highwater.bench;

import java.math.BigDecimal;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HashSet;
import java.util.Set;
import java.util.StringJoiner;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.connector.sink.SinkV2Provider;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableSinkFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;

/** The result of a query, dropped or kept: {@code 'connector' = 'result'}. */
final class ResultTable implements DynamicTableSink {
    private final boolean keep;
    /** Whether a row that is kept takes the place of the one before with the same first column. */
    private final boolean keyed;

    private final DataType row;

    private ResultTable(boolean keep, boolean keyed, DataType row) {
        this.keep = keep;
        this.keyed = keyed;
        this.row = row;
    }

    @Override
    public ChangelogMode getChangelogMode(ChangelogMode requested) {
        if (keep) {
            return ChangelogMode.all();
        }
        // As Flink's own blackhole: a row that changes comes once, not with what it was before.
        ChangelogMode.Builder mode = ChangelogMode.newBuilder();
        requested.getContainedKinds().stream()
                .filter(kind -> kind != RowKind.UPDATE_BEFORE)
                .forEach(mode::addContainedKind);
        return mode.build();
    }

    @Override
    public SinkRuntimeProvider getSinkRuntimeProvider(Context context) {
        if (!keep) {
            return SinkV2Provider.of(WatchedSink.<RowData>counting());
        }
        boolean hasKey = keyed;
        DataStructureConverter converter = context.createDataStructureConverter(row);
        return SinkV2Provider.of(WatchedSink.<RowData>keeping(data -> {
            boolean came = data.getRowKind() == RowKind.INSERT || data.getRowKind() == RowKind.UPDATE_AFTER;
            Row columns = (Row) converter.toExternal(data);
            return new Seen.Change(hasKey ? String.valueOf(columns.getField(0)) : null, line(columns), came);
        }));
    }

    @Override
    public DynamicTableSink copy() {
        return new ResultTable(keep, keyed, row);
    }

    @Override
    public String asSummaryString() {
        return "result";
    }

    /** Formats of columns: see the rows of the crate {@code highwater-nexmark}. */
    private static String line(Row row) {
        DateTimeFormatter time = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss.SSS");
        StringJoiner line = new StringJoiner("|");
        for (int column = 0; column < row.getArity(); column++) {
            Object value = row.getField(column);
            if (value instanceof LocalDateTime) {
                line.add(((LocalDateTime) value).format(time));
            } else if (value instanceof BigDecimal) {
                line.add(((BigDecimal) value).toPlainString());
            } else {
                line.add(String.valueOf(value));
            }
        }
        return line.toString();
    }

    /** Found by Flink through META-INF/services. */
    public static final class Factory implements DynamicTableSinkFactory {
        private static final ConfigOption<Boolean> KEEP =
                ConfigOptions.key("keep").booleanType().noDefaultValue();
        private static final ConfigOption<Boolean> KEYED =
                ConfigOptions.key("keyed").booleanType().noDefaultValue();

        @Override
        public String factoryIdentifier() {
            return "result";
        }

        @Override
        public Set<ConfigOption<?>> requiredOptions() {
            return new HashSet<>(Set.of(KEEP, KEYED));
        }

        @Override
        public Set<ConfigOption<?>> optionalOptions() {
            return new HashSet<>();
        }

        @Override
        public DynamicTableSink createDynamicTableSink(Context context) {
            FactoryUtil.TableFactoryHelper helper = FactoryUtil.createTableFactoryHelper(this, context);
            helper.validate();
            return new ResultTable(
                    helper.getOptions().get(KEEP),
                    helper.getOptions().get(KEYED),
                    context.getPhysicalRowDataType());
        }
    }
}
