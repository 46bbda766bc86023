package highwater.bench;

import java.util.HashSet;
import java.util.Set;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.connector.source.ScanTableSource;
import org.apache.flink.table.connector.source.SourceProvider;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableSourceFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;

/** The events of Nexmark as a table of SQL: {@code 'connector' = 'nexmark'}. */
final class EventTable implements ScanTableSource {
    private final long events;
    private final int generators;
    private final DataType row;

    private EventTable(long events, int generators, DataType row) {
        this.events = events;
        this.generators = generators;
        this.row = row;
    }

    @Override
    public ChangelogMode getChangelogMode() {
        return ChangelogMode.insertOnly();
    }

    @Override
    public ScanRuntimeProvider getScanRuntimeProvider(ScanContext context) {
        TypeInformation<RowData> type = context.createTypeInformation(row);
        long all = events;
        int parts = generators;
        return SourceProvider.of(new PartSource<>(parts, part -> new Events(all, part, parts), type));
    }

    @Override
    public DynamicTableSource copy() {
        return new EventTable(events, generators, row);
    }

    @Override
    public String asSummaryString() {
        return "nexmark";
    }

    /** Found by Flink through META-INF/services. */
    public static final class Factory implements DynamicTableSourceFactory {
        private static final ConfigOption<Long> EVENTS =
                ConfigOptions.key("events").longType().noDefaultValue();
        private static final ConfigOption<Integer> GENERATORS =
                ConfigOptions.key("generators").intType().noDefaultValue();

        @Override
        public String factoryIdentifier() {
            return "nexmark";
        }

        @Override
        public Set<ConfigOption<?>> requiredOptions() {
            return new HashSet<>(Set.of(EVENTS, GENERATORS));
        }

        @Override
        public Set<ConfigOption<?>> optionalOptions() {
            return new HashSet<>();
        }

        @Override
        public DynamicTableSource createDynamicTableSource(Context context) {
            FactoryUtil.TableFactoryHelper helper = FactoryUtil.createTableFactoryHelper(this, context);
            helper.validate();
            return new EventTable(
                    helper.getOptions().get(EVENTS),
                    helper.getOptions().get(GENERATORS),
                    context.getPhysicalRowDataType());
        }
    }
}
