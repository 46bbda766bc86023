package highwater.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.ZoneOffset;
import java.util.Set;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.bridge.java.StreamStatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.ScalarFunction;

/** A query of Nexmark, whose SQL is a file of its own, over the tables of {@code tables.sql}. */
final class Nexmark {
    /**
     * Queries in whose result a row takes the place of the one before with the same first column, which is not taken back: Flink 2.3
     * plans the rank of q9, which has two columns to order by, as if rows only came. To give the table a key would change the plan.
     */
    private static final Set<String> KEYED = Set.of("q9");

    private Nexmark() {}

    static void build(StreamExecutionEnvironment env, Options options) throws IOException {
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);
        tables.getConfig().setLocalTimeZone(ZoneOffset.UTC);
        tables.createTemporarySystemFunction("count_char", CountChar.class);
        Path sql = Paths.get(options.text("sql"));
        String definitions = Files.readString(sql.resolve("tables.sql"))
                .replace("${events}", options.text("events"))
                .replace("${generators}", options.text("generators"));
        for (String statement : definitions.split(";")) {
            if (!statement.isBlank()) {
                tables.executeSql(statement);
            }
        }
        String query = Files.readString(sql.resolve(options.text("job") + ".sql"));
        TableDescriptor result = TableDescriptor.forConnector("result")
                .option("keep", Boolean.toString(options.has("output")))
                .option("keyed", Boolean.toString(KEYED.contains(options.text("job"))))
                .build();
        StreamStatementSet statements = tables.createStatementSet();
        statements.addInsert(result, tables.sqlQuery(query));
        statements.attachAsDataStream();
    }

    /** How often a character is in a text: a function of the published benchmark. */
    public static final class CountChar extends ScalarFunction {
        private static final long serialVersionUID = 1;

        public long eval(String text, String character) {
            return text.chars().filter(each -> each == character.charAt(0)).count();
        }
    }
}
