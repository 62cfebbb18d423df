//! The log, on standard error, in text or JSON. Whatever outside data it holds, a line is bounded,
//! and so are the lines of one kind a second.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write, stderr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Bytes of a line.
const LONGEST_LINE: usize = 4096;
/// Bytes of a value in JSON, where its line is too long.
const LONGEST_VALUE: usize = 512;
/// Lines of one kind, which is one place in the code: so many at once, and so many a second.
const AT_ONCE: u32 = 100;
const A_SECOND: u32 = 10;
/// How often it is told what was left out.
const SUMMARY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Writes the log to standard error from now on.
pub fn to_stderr(format: Format) {
    // Who changed what is logged whatever else is: only `audit=off` silences it.
    let wanted = std::env::var("RUST_LOG")
        .ok()
        .filter(|wanted| !wanted.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    // That a request had no answer is told by who made it, with what it was for.
    let always = "audit=info,kube_client::client::builder=off";
    let filter = EnvFilter::try_new(format!("{always},{wanted}"))
        .unwrap_or_else(|_| EnvFilter::new(format!("{always},info")));
    let pace = Arc::new(Pace::new(AT_ONCE, A_SECOND));
    let told = pace.clone();
    // Ends with the process.
    let telling = std::thread::Builder::new().name("log".into()).spawn(move || {
        loop {
            std::thread::sleep(SUMMARY);
            told.tell();
        }
    });
    let lines = lines(format, stderr, stderr().is_terminal()).with_filter(Paced(pace));
    tracing_subscriber::registry().with(lines).with(filter).init();
    if let Err(error) = telling {
        tracing::warn!(%error, "what the log leaves out is not told");
    }
}

fn lines<W>(
    format: Format,
    writer: impl Fn() -> W + Send + Sync + 'static,
    colours: bool,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: Write + 'static,
{
    let lines =
        tracing_subscriber::fmt::layer().with_writer(Bounded { format, writer }).with_ansi(colours);
    match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Shortens lines that are too long.
struct Bounded<F> {
    format: Format,
    writer: F,
}

impl<'a, W: Write + 'a, F: Fn() -> W> MakeWriter<'a> for Bounded<F> {
    type Writer = BoundedWriter<W>;

    fn make_writer(&'a self) -> BoundedWriter<W> {
        BoundedWriter { format: self.format, writer: (self.writer)() }
    }
}

struct BoundedWriter<W> {
    format: Format,
    writer: W,
}

impl<W: Write> Write for BoundedWriter<W> {
    /// A line comes as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() <= LONGEST_LINE {
            self.writer.write_all(line)?;
        } else {
            let text = String::from_utf8_lossy(line);
            let text = text.trim_end();
            let shortened = match self.format {
                Format::Text => shortened(text, LONGEST_LINE / 2),
                Format::Json => shortened_json(text),
            };
            writeln!(self.writer, "{shortened}")?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The beginning and the end of a text.
fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let begin = boundary(text, bytes * 3 / 4);
    let end = boundary(text, text.len() - bytes / 4);
    format!("{}… {} bytes left out …{}", &text[..begin], end - begin, &text[end..])
}

/// The end of the last whole character before `index`.
fn boundary(text: &str, index: usize) -> usize {
    (0..=index).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

fn shortened_json(text: &str) -> String {
    let mut line = serde_json::from_str(text).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut line {
        for field in fields.values_mut() {
            let long = field.as_str().filter(|text| text.len() > LONGEST_VALUE);
            if let Some(short) = long.map(|text| shortened(text, LONGEST_VALUE)) {
                *field = short.into();
            }
        }
        let line = line.to_string();
        if line.len() <= LONGEST_LINE {
            return line;
        }
    }
    json!({ "shortened": shortened(text, LONGEST_VALUE) }).to_string()
}

/// How many lines of each kind may be written, and how many were not.
struct Pace {
    limiter: RateLimiter<Identifier, HashMapStateStore<Identifier>, DefaultClock>,
    left_out: Mutex<HashMap<Identifier, (&'static Metadata<'static>, u64)>>,
}

impl Pace {
    fn new(at_once: u32, a_second: u32) -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(number(a_second)).allow_burst(number(at_once));
        Self { limiter: RateLimiter::hashmap(quota), left_out: Mutex::default() }
    }

    fn takes(&self, metadata: &'static Metadata<'static>) -> bool {
        // Who asks for more wants all of it.
        if *metadata.level() > Level::INFO {
            return true;
        }
        let kind = metadata.callsite();
        let taken = self.limiter.check_key(&kind).is_ok();
        if !taken {
            self.left_out.lock().entry(kind).or_insert((metadata, 0)).1 += 1;
        }
        taken
    }

    /// Says what was left out since the last time.
    fn tell(&self) {
        let left_out = std::mem::take(&mut *self.left_out.lock());
        for (metadata, count) in left_out.into_values() {
            tracing::warn!(
                target: "log",
                left_out = count,
                of = metadata.target(),
                file = metadata.file().unwrap_or_default(),
                line = metadata.line().unwrap_or_default(),
                "there were more lines of this kind"
            );
        }
    }
}

struct Paced(Arc<Pace>);

impl<S: Subscriber> Filter<S> for Paced {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.takes(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, pace: &Arc<Pace>, events: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let lines = lines(format, move || writer.clone(), false).with_filter(Paced(pace.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), events);
        String::from_utf8(memory.0.lock().clone()).unwrap()
    }

    #[test]
    fn a_line_is_bounded_and_keeps_its_beginning_and_its_end() {
        let pace = Arc::new(Pace::new(100, 10));
        let path = "é/".repeat(30_000);
        let write = || tracing::info!(path, status = 401, "write");
        let text = logged(Format::Text, &pace, write);
        assert!(text.len() <= LONGEST_LINE && text.ends_with("status=401\n"), "{text}");
        assert!(text.contains("write path=") && text.contains(" bytes left out "), "{text}");
        let text = logged(Format::Json, &pace, write);
        assert!(text.len() <= LONGEST_LINE, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["status"], &line["message"]), (&json!(401), &json!("write")));
        assert!(line["path"].as_str().unwrap().starts_with("é/é/"));
    }

    #[test]
    fn a_line_that_is_short_enough_is_left_as_it_is() {
        let pace = Arc::new(Pace::new(100, 10));
        let text = "x".repeat(3000);
        let line = logged(Format::Text, &pace, || tracing::info!(text));
        assert!(line.contains(&text), "{line}");
    }

    #[test]
    fn a_json_line_of_many_values_is_bounded_too() {
        let fields = (0..5000).map(|number| (number.to_string(), number.into())).collect();
        let short = shortened_json(&Value::Object(fields).to_string());
        assert!(short.len() <= LONGEST_LINE, "{short}");
        assert!(serde_json::from_str::<Value>(&short).unwrap()["shortened"].is_string());
    }

    #[test]
    fn lines_of_one_kind_are_bounded_and_what_is_left_out_is_counted() {
        let pace = Arc::new(Pace::new(20, 1));
        let text = logged(Format::Text, &pace, || {
            for number in 0..1000 {
                tracing::warn!(number, "refused");
            }
            tracing::warn!("of another kind");
            pace.tell();
        });
        let refused = text.lines().filter(|line| line.contains("refused")).count();
        assert!((20..30).contains(&refused), "{refused}");
        assert!(text.contains("of another kind"), "{text}");
        let told = format!("left_out={}", 1000 - refused);
        assert!(text.contains(&told) && text.contains("file=\"src/logging.rs\""), "{text}");
    }
}
