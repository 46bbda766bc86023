//! The program of Flink's own articles on state: a source that says "Hello Flink", a checkpoint every second on a file system, and
//! a keyed function that counts. The count is managed state: stop the program, start it again, and it goes on counting.

use std::time::Duration;

use highwater::prelude::*;

#[derive(KeyedState)]
struct Greetings {
    count: ValueState<u64>,
}

#[derive(Clone)]
struct CountGreetings;

impl KeyedProcessFunction<String, String> for CountGreetings {
    type State = Greetings;
    type Out = String;

    fn process(&mut self, _: String, state: &mut Greetings, out: &mut Context<'_, String, String>) -> UserResult {
        let count = state.count.get_or_default() + 1;
        state.count.set(count);
        out.collect(format!("Count: {count}"));
        Ok(())
    }
}

fn main() -> highwater::Result<()> {
    let env = StreamExecutionEnvironment::from_args()?;
    env.enable_checkpointing(Duration::from_millis(1000));
    env.set_state_backend(FsStateBackend::new("file:///tmp/highwater/checkpoints"));

    env.from_source(Generator::new(|_| "Hello Flink".to_string()).rate(1), WatermarkStrategy::no_watermarks(), "hello")
        .key_by(|greeting: &String| greeting.clone())
        .process(CountGreetings)
        .print();

    env.execute("hello")?;
    Ok(())
}
