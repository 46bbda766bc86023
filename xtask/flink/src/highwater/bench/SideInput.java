package highwater.bench;

import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.connector.source.LookupTableSource;
import org.apache.flink.table.connector.source.lookup.LookupFunctionProvider;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.factories.DynamicTableSourceFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.LookupFunction;

/**
 * The side input of q13, {@code 'connector' = 'side-input'}: the rows of the published {@code side_input_gen.sh}, looked up in
 * memory. The published table reads them from a file, by a source that Flink no longer has, and that kept them in memory too.
 */
final class SideInput implements LookupTableSource {
    private static final long ROWS = 10_000;

    @Override
    public LookupRuntimeProvider getLookupRuntimeProvider(LookupContext context) {
        int[][] keys = context.getKeys();
        if (keys.length != 1 || keys[0].length != 1 || keys[0][0] != 0) {
            throw new IllegalArgumentException("the side input is looked up by its key, the first column, only");
        }
        return LookupFunctionProvider.of(new ByKey());
    }

    @Override
    public DynamicTableSource copy() {
        return new SideInput();
    }

    @Override
    public String asSummaryString() {
        return "side-input";
    }

    /** The rows of a key. Generated code calls it, so it is public. */
    public static final class ByKey extends LookupFunction {
        private static final long serialVersionUID = 1;

        private transient Map<Long, List<RowData>> rows;

        @Override
        public void open(FunctionContext context) {
            rows = new HashMap<>();
            for (long key = 0; key < ROWS; key++) {
                rows.put(key, List.of(GenericRowData.of(key, StringData.fromString(Long.toString(key)))));
            }
        }

        @Override
        public Collection<RowData> lookup(RowData key) {
            return rows.getOrDefault(key.getLong(0), List.of());
        }
    }

    /** Found by Flink through META-INF/services. */
    public static final class Factory implements DynamicTableSourceFactory {
        @Override
        public String factoryIdentifier() {
            return "side-input";
        }

        @Override
        public Set<ConfigOption<?>> requiredOptions() {
            return new HashSet<>();
        }

        @Override
        public Set<ConfigOption<?>> optionalOptions() {
            return new HashSet<>();
        }

        @Override
        public DynamicTableSource createDynamicTableSource(Context context) {
            FactoryUtil.createTableFactoryHelper(this, context).validate();
            return new SideInput();
        }
    }
}
