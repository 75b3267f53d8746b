//! The log on standard error: lines for people, or one JSON object per line for machines.

use std::fmt;
use std::io::{IsTerminal as _, stderr};
use std::time::SystemTime;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::no_color;
use super::traces::SpanLayer;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// A line per event, for people.
    Text,
    /// A JSON object per line: `time`, `level`, `target`, `message`, `fields`.
    Json,
}

/// Writes what `TROMMEL_LOG` asks for, warnings and errors without it. Spans go to `spans`
/// alone.
pub(super) fn start(format: LogFormat, spans: Option<SpanLayer>) {
    let wanted = std::env::var("TROMMEL_LOG")
        .ok()
        .and_then(|wanted| wanted.parse().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    // Without a hint nothing would be switched off before it is looked at.
    let events = filter_fn(|metadata| metadata.is_event());
    let filter = filter.and(events.with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let log = tracing_subscriber::registry().with(spans);
    match format {
        LogFormat::Text => {
            let lines = lines
                .with_ansi(stderr().is_terminal() && !no_color())
                .without_time();
            log.with(lines.with_filter(filter)).init();
        }
        LogFormat::Json => log
            .with(lines.event_format(Json).with_filter(filter))
            .init(),
    }
}

/// The form of one JSON object per line. What a plugin or an item chose is escaped, so it
/// begins no line.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_else(|| json!(""));
        let line = json!({
            "time": humantime::format_rfc3339_millis(now()).to_string(),
            "level": event.metadata().level().as_str(),
            "target": event.metadata().target(),
            "message": message,
            "fields": fields.0,
        });
        writeln!(writer, "{line}")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a line of a log says when it was written"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// An event's fields as JSON has them.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_event_is_one_json_object_on_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = Arc::new(File::create(&path).unwrap());
        let lines = tracing_subscriber::fmt::layer().with_writer(file);
        let log = tracing_subscriber::registry().with(lines.event_format(Json));
        tracing::subscriber::with_default(log, || {
            let name = "a\n\u{1b}[2J\"";
            tracing::warn!(target: "trommel::guest", detector = %name, n = 3, share = 0.5, ok = true, text = name, "said {name}");
            tracing::info!(kind = ?Some(1));
        });
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [warned, told] = &lines[..] else {
            panic!("{text}");
        };
        humantime::parse_rfc3339(warned["time"].as_str().unwrap()).unwrap();
        assert_eq!(warned["level"], "WARN");
        assert_eq!(warned["target"], "trommel::guest");
        assert_eq!(warned["message"], "said a\n\u{1b}[2J\"");
        let name = "a\n\u{1b}[2J\"";
        let fields = json!({ "detector": name, "n": 3, "share": 0.5, "ok": true, "text": name });
        assert_eq!(warned["fields"], fields);
        assert_eq!(told["message"], "");
        assert_eq!(told["fields"], json!({ "kind": "Some(1)" }));
    }
}
