//! The `trommel` command. An edge: it alone installs a logger, starts a runtime
//! and speaks to the terminal.

mod check;
mod devices;
mod host;
mod input;
mod lists;
mod log;
mod output;
mod plugin;
mod recording;
mod replay;
mod rollout;
mod serve;
mod traces;

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use log::LogFormat;
use trommel::engine::compiler::{COMPILE_COMMAND, answer};

/// How a command ended; the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Everything was done.
    Done,
    /// `--fail-on` matched.
    Matched,
    /// The arguments, a detector or the policy cannot be used.
    Usage,
    /// Some inputs could not be judged; each was named.
    Unjudged,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Matched => 1,
            Exit::Usage => 2,
            Exit::Unjudged => 3,
        })
    }
}

/// Judges content with sandboxed detectors.
#[derive(Debug, Parser)]
#[command(name = "trommel", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  trommel check samples
  trommel check --text 'You have won! Call 09061701461 now'
  trommel plugin pack my-plugin
  trommel completions bash > ~/.local/share/bash-completion/completions/trommel

The log goes to standard error; TROMMEL_LOG=debug shows more of it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge files, folders, a text, or JSON lines.
    Check(check::CheckArguments),
    /// Judge what comes over HTTP.
    Serve(serve::ServeArguments),
    /// Bring a revision of a detector to answer, step by step, and take it back.
    Rollout(Box<rollout::RolloutArguments>),
    /// Judge recorded items on another lineup, and show whose verdict changes.
    Replay(replay::ReplayArguments),
    /// List the devices that models can run on, and which models a GPU would run.
    Devices(devices::DevicesArguments),
    /// Show how a GPU would run a model, step by step.
    Plan(devices::PlanArguments),
    /// Pack a plugin, sign it, verify it, look into it.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Compile the component on standard input; a host starts this by itself.
    #[command(name = COMPILE_COMMAND, hide = true)]
    CompileComponent {
        /// Bounds that the host sets.
        bounds: Vec<String>,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    fn on_stdout(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stdout().is_terminal() && !no_color(),
        }
    }
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // Help and version are answers, not mistakes.
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    let (format, started) = match &arguments.command {
        Command::Serve(arguments) => (arguments.log_format, arguments.traces.start()),
        _ => (LogFormat::Text, Ok(None)),
    };
    let (traces, layer) = match started {
        Ok(started) => started.unzip(),
        Err(error) => return refused(&error),
    };
    log::start(format, layer);
    let ended = match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments, traces),
        Command::Rollout(arguments) => rollout::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Devices(arguments) => devices::devices(&arguments),
        Command::Plan(arguments) => devices::plan(&arguments),
        Command::Plugin(command) => plugin::run(&command),
        Command::CompileComponent { bounds } => {
            answer(&bounds).map(|()| Exit::Done).map_err(Into::into)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "trommel", &mut script);
            stdout()
                .write_all(&script)
                .map(|()| Exit::Done)
                .map_err(Into::into)
        }
    };
    match ended {
        Ok(exit) => exit.into(),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &anyhow::Error) -> ExitCode {
    // A package or policy may have chosen some of these words.
    for line in format!("error: {error:#}").lines() {
        let _ = writeln!(stderr(), "{}", output::shown(line));
    }
    Exit::Usage.into()
}

/// Set and not empty, as no-color.org has it.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
