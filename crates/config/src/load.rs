//! Loading: find the file, parse it, lay environment and flags over it, read it, check it.

use crate::catalog::Catalog;
use crate::check::Checks;
use crate::describe::last_name;
use crate::env::{self, Env};
use crate::error::{ConfigErrors, Report};
use crate::interpolate;
use crate::kind::Secrecy;
use crate::lift;
use crate::openapi;
use crate::overlay::{CONFIG_FILE, Overlay};
use crate::parse::{FILE_BYTES_MAX, Format, parse};
use crate::reader::{Core, Line};
use crate::seed;
use crate::settings::{ENVIRONMENTS, Environment, File, Settings};
use crate::show::Origins;
use crate::tree::{KeyPath, Node, Source};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What to load.
#[derive(Clone, Default)]
pub struct LoadRequest {
    /// `--config`. Without it `TOLLKEEP_CONFIG`, else `tollkeep.yaml` in the working directory,
    /// else `/etc/tollkeep/tollkeep.yaml`, else no file at all.
    pub file: Option<PathBuf>,
    /// `--set key=value`, in order.
    pub sets: Vec<String>,
    /// The environment.
    pub env: Env,
    /// Where `tollkeep.yaml` and `.env` are looked for.
    pub working_dir: PathBuf,
    /// `--env-file`; unlike `.env` it is read in production too.
    pub env_file: Option<PathBuf>,
    /// Whether a gateway runs already. Then a file without anything in it is a fault: somebody is
    /// about to write it.
    pub running: bool,
    /// Whether nothing will run with what is loaded. Then routes whose price nobody can pay yet are
    /// a warning, so that one can see what they would cost.
    pub looks_only: bool,
    /// What is done about documents that upstreams name.
    pub documents: Documents,
}

/// What is done about documents that upstreams name (`openapi`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Documents {
    /// They are read; one that should have been fetched is a fault if it was not.
    #[default]
    Needed,
    /// They are read; one that was not fetched yet is a warning.
    IfFetched,
    /// None is read.
    Unread,
}

/// Checked settings, and what there is to tell about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Every key, its value as it may be shown, and where it came from.
    pub origins: Origins,
    /// What start-up should say.
    pub warnings: Vec<String>,
    /// The file read.
    pub path: Option<PathBuf>,
    /// Every file whose text became part of the settings.
    pub files: Vec<PathBuf>,
}

const SYSTEM_FILE: &str = "/etc/tollkeep/tollkeep.yaml";
const LOCAL_FILE: &str = "tollkeep.yaml";

/// Loads and checks a configuration. Nothing is changed, opened or bound.
///
/// # Errors
/// Every fault of the file, the environment and the flags, all at once; only a file that can't
/// be parsed is told alone.
pub fn load(request: &LoadRequest) -> Result<Loaded, ConfigErrors> {
    let path = find_file(request);
    let mut report = Report::new(path.as_deref());
    let tree = match path
        .as_deref()
        .map(|path| read_tree(path, request.running, &mut report))
    {
        Some(Some(tree)) => tree,
        Some(None) => return Err(report.into_errors()),
        None => Node::empty_map(),
    };
    load_tree(request, path, tree, report)
}

/// Checks a text as if it stood in a file, with the environment of the request and its flags.
///
/// # Errors
/// As [`load`].
pub fn load_text(request: &LoadRequest, text: &str) -> Result<Loaded, ConfigErrors> {
    let mut report = Report::new(None);
    match parse(Format::Yaml, text) {
        Ok(tree) => load_tree(request, None, tree, report),
        Err(faults) => {
            for fault in faults {
                report.error(&fault.key, &fault.source, fault.problem);
            }
            Err(report.into_errors())
        }
    }
}

/// The tree of a file that is not ours.
pub(crate) fn read_file(path: &Path, report: &mut Report) -> Option<Node> {
    read_tree(path, false, report)
}

fn load_tree(
    request: &LoadRequest,
    path: Option<PathBuf>,
    mut tree: Node,
    mut report: Report,
) -> Result<Loaded, ConfigErrors> {
    seed::lift_cors(&mut tree);
    lift::audit(&mut tree, &mut report);
    lift::tollbooth(&mut tree, &mut report);
    lift::paths(&mut tree);
    let catalog = Catalog::new();
    let env = with_env_file(request, &tree, &mut report);
    let mut overlay = Overlay {
        tree: &mut tree,
        catalog: &catalog,
        env: &env,
        report: &mut report,
    };
    overlay.apply(&request.sets);
    let mut core = Core::new(&env, report);
    let file: File = core.section(&KeyPath::default(), Some(&tree));
    let documents = match request.documents {
        Documents::Needed if request.looks_only => Documents::IfFetched,
        wanted @ (Documents::Needed | Documents::IfFetched | Documents::Unread) => wanted,
    };
    let (file, core) = openapi::add_routes(file, &tree, core, documents);
    let (settings, lines, mut report) = check(file, core, request.looks_only);
    let mut files = report.take_files();
    files.extend(path.clone());
    files.extend(settings.egress_files().cloned());
    let warnings = report.finish()?;
    Ok(Loaded {
        settings,
        origins: Origins::new(lines),
        warnings,
        path,
        files,
    })
}

fn check(file: File, core: Core<'_>, looks_only: bool) -> (Settings, Vec<Line>, Report) {
    let Core {
        env,
        mut report,
        lines,
        literals,
        ..
    } = core;
    let environment = file.environment;
    let lifted = file.config.insecure_literal_secrets;
    for (path, source) in literals {
        let problem = "is a secret written out: use `${NAME}` or `${file:/path}`";
        if environment == Environment::Production && !lifted {
            report.error(&path, &source, problem);
        } else {
            report.warn_at(&path, &source, problem);
        }
    }
    for line in &lines {
        warn_if_dangerous(line, &mut report);
    }
    let mut checks = Checks {
        environment,
        env,
        lines: &lines,
        report: &mut report,
        looks_only,
    };
    let settings = Settings::check(file, &mut checks);
    (settings, lines, report)
}

/// Says at every start what was made less safe (`insecure_…`, `dangerously_…`).
fn warn_if_dangerous(line: &Line, report: &mut Report) {
    let Line::Key(key) = line else {
        return;
    };
    let name = last_name(&key.path);
    let dangerous = name.starts_with("insecure_") || name.starts_with("dangerously_");
    if dangerous && key.shown == true {
        report.warn_at(&key.path, &key.source, "is on");
    }
}

/// The file to read: what was asked for, there or not, or the first that is there.
fn find_file(request: &LoadRequest) -> Option<PathBuf> {
    let asked = request.env.set(CONFIG_FILE).map(PathBuf::from);
    if let Some(path) = request.file.clone().or(asked) {
        return Some(path);
    }
    let usual = [request.working_dir.join(LOCAL_FILE), SYSTEM_FILE.into()];
    usual.into_iter().find(|path| path.exists())
}

fn read_tree(path: &Path, running: bool, report: &mut Report) -> Option<Node> {
    let whole = Source::File { line: 1, column: 1 };
    let text = match read_text(path, FILE_BYTES_MAX, running) {
        Ok(text) => text,
        Err(problem) => {
            report.error(&KeyPath::default(), &whole, problem);
            return None;
        }
    };
    let tree = if running && text.trim().is_empty() {
        Ok(Node::empty_map())
    } else {
        parse(Format::of(path), &text)
    };
    match tree {
        Ok(tree) if running && tree.is_empty() => {
            report.error(&KeyPath::default(), &whole, "is empty");
            None
        }
        Ok(tree) => Some(tree),
        Err(faults) => {
            for fault in faults {
                report.error(&fault.key, &fault.source, fault.problem);
            }
            None
        }
    }
}

/// The text of a file that is no configuration.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_text_of(path: &Path, bytes_max: u64) -> Result<String, String> {
    read_text(path, bytes_max, false)
}

fn read_text(path: &Path, bytes_max: u64, running: bool) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("can't read it: {}", error.kind());
    // Before it is opened: to open a pipe may take for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut bounded = file.by_ref().take(bytes_max + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is longer than {bytes_max} bytes"));
    }
    if running && file.metadata().map_err(unreadable)?.len() != bytes.len() as u64 {
        return Err("changed while it was read".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        format!("is not UTF-8 after byte {offset}")
    })
}

/// The environment and, under its names, those of an env file.
fn with_env_file(request: &LoadRequest, tree: &Node, report: &mut Report) -> Env {
    let mut env = request.env.clone();
    let in_production = declared_environment(request, tree) == Some(Environment::Production);
    let usual = request.working_dir.join(".env");
    let (path, asked) = match &request.env_file {
        Some(path) => (path.clone(), true),
        None if in_production || !usual.is_file() => return env,
        None => (usual, false),
    };
    let name = path.display();
    report.note_file(&path);
    match env::read_file(&path) {
        Ok(file) => {
            let wide = format!("{name}: may be read by others: chmod 600 {name}");
            if file.wide && in_production {
                report.error(&KeyPath::default(), &Source::Default, wide);
            } else if file.wide {
                report.warn(wide);
            }
            let strict = "TOLLKEEP_ENVIRONMENT";
            if !asked && env.get(strict).is_none() && file.env.set(strict) == Some("production") {
                // Else the file would be read by the very rule that it must not be.
                let problem = format!("{name}: is read in development only and can't end it");
                report.error(&KeyPath::default(), &Source::Default, problem);
            }
            if file.env.get(CONFIG_FILE).is_some() {
                report.warn(format!("{name}: {CONFIG_FILE} has no effect here"));
            }
            env.fill_from(file.env);
        }
        Err(problem) => {
            let problem = format!("{name}: {problem}");
            report.error(&KeyPath::default(), &Source::Default, problem);
        }
    }
    env
}

/// What flags, environment and file say about `environment`, before any of them is read.
fn declared_environment(request: &LoadRequest, tree: &Node) -> Option<Environment> {
    let flag = request
        .sets
        .iter()
        .rev()
        .find_map(|set| set.strip_prefix("environment="));
    let written = tree.get("environment").and_then(Node::as_text);
    let word = flag
        .or(request.env.get("TOLLKEEP_ENVIRONMENT"))
        .or(written)?;
    let Some(word) = interpolate::filled(word, &request.env, Secrecy::Open) else {
        // Whatever it is, no `.env` file shall decide it.
        return Some(Environment::Production);
    };
    let found = ENVIRONMENTS.iter().find(|(name, _)| *name == word)?;
    Some(found.1)
}
