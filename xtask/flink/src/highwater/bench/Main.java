package highwater.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.checkpoint.AbstractCheckpointStats;
import org.apache.flink.runtime.checkpoint.CheckpointStatsSnapshot;
import org.apache.flink.runtime.checkpoint.CheckpointStatsStatus;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Runs one job in a cluster within this process, and prints what it showed as one line of JSON. */
public final class Main {
    private Main() {}

    public static void main(String[] words) {
        int code = 0;
        try {
            System.out.println(run(new Options(words)));
        } catch (Throwable failure) {
            failure.printStackTrace();
            code = 1;
        }
        System.out.flush();
        // Not exit: threads of the cluster would be waited for, and there is nothing left that they should do.
        Runtime.getRuntime().halt(code);
    }

    private static String run(Options options) throws Exception {
        int parallelism = (int) options.number("parallelism");
        Configuration configuration = configuration(options);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        env.setParallelism(parallelism);
        if (options.text("job").equals("keyed-count")) {
            KeyedCount.build(env, options);
        } else {
            Nexmark.build(env, options);
        }
        JobGraph job = env.getStreamGraph().getJobGraph();
        MiniCluster cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setConfiguration(configuration)
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(parallelism)
                .withRandomPorts()
                .build());
        cluster.start();
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long cpuBefore = system.getProcessCpuTime();
        cluster.submitJob(job).get();
        cluster.requestJobResult(job.getJobID()).get().toJobExecutionResult(Main.class.getClassLoader());
        double cpuSeconds = (system.getProcessCpuTime() - cpuBefore) / 1e9;
        if (options.has("output")) {
            write(Paths.get(options.text("output")));
        }
        CheckpointStatsSnapshot checkpoints =
                cluster.getExecutionGraph(job.getJobID()).get().getCheckpointStatsSnapshot();
        return report(options, cpuSeconds, checkpoints);
    }

    private static Configuration configuration(Options options) {
        String dir = options.text("dir");
        Configuration configuration = new Configuration();
        configuration.setString("pipeline.object-reuse", "true");
        configuration.setString("taskmanager.memory.managed.size", options.text("managed"));
        configuration.setString("taskmanager.memory.network.min", "128m");
        configuration.setString("taskmanager.memory.network.max", "128m");
        configuration.setString("io.tmp.dirs", dir + "/tmp");
        configuration.setString("web.checkpoints.history", "10000");
        configuration.setString("state.backend.type", options.text("backend"));
        configuration.setString("restart-strategy.type", "none");
        long intervalMs = options.number("checkpoint-interval-ms");
        if (intervalMs > 0) {
            configuration.setString("execution.checkpointing.interval", intervalMs + " ms");
            configuration.setString("execution.checkpointing.incremental", "true");
            configuration.setString("execution.checkpointing.storage", "filesystem");
            configuration.setString("execution.checkpointing.dir", Paths.get(dir, "checkpoints").toUri().toString());
        }
        return configuration;
    }

    /** The rows that are left of the result after all changes, sorted. */
    private static void write(Path path) throws IOException {
        Map<String, Integer> counts = new TreeMap<>();
        Map<String, String> keyed = new HashMap<>();
        for (Seen.Change change : Seen.changes()) {
            if (change.key == null) {
                counts.merge(change.row, change.came ? 1 : -1, Integer::sum);
            } else if (change.came) {
                keyed.put(change.key, change.row);
            } else {
                keyed.remove(change.key, change.row);
            }
        }
        keyed.values().forEach(row -> counts.merge(row, 1, Integer::sum));
        List<String> rows = new ArrayList<>();
        counts.forEach((row, count) -> {
            if (count < 0) {
                throw new IllegalStateException("more often taken back than it came: " + row);
            }
            for (int left = count; left > 0; left--) {
                rows.add(row);
            }
        });
        Files.write(path, rows);
    }

    private static String report(Options options, double cpuSeconds, CheckpointStatsSnapshot checkpoints)
            throws IOException {
        List<String> times = new ArrayList<>();
        List<String> bytes = new ArrayList<>();
        if (checkpoints != null) {
            for (AbstractCheckpointStats checkpoint : checkpoints.getHistory().getCheckpoints()) {
                if (checkpoint.getStatus() == CheckpointStatsStatus.COMPLETED) {
                    times.add(Long.toString(checkpoint.getEndToEndDuration()));
                    bytes.add(Long.toString(checkpoint.getCheckpointedSize()));
                }
            }
        }
        return "{\"rows_per_s\":" + options.number("events") / Seen.seconds()
                + ",\"cpu_seconds\":" + cpuSeconds
                + ",\"peak_bytes\":" + peakBytes()
                + ",\"rows_out\":" + Seen.rows()
                + ",\"sum_of_counts\":" + Long.toUnsignedString(Seen.sum())
                + ",\"checkpoints_ms\":" + times
                + ",\"checkpoints_bytes\":" + bytes + "}";
    }

    private static long peakBytes() throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
            }
        }
        throw new IOException("/proc/self/status has no VmHWM");
    }
}
