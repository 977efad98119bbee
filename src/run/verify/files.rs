//! Level `exists`: both files are there, of the sizes that the catalogue has, and are the ones that it lists.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use agent_backup_core::container::{Blob, Container, ContainerError, Manifest, ReadAt};
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::stream::sha256_hex;

use crate::error::{EncryptionError, Error, Result};
use crate::journal_checks::Facts;
use crate::run::blob;
use crate::run::erase::settle;
use crate::run::shelf::{self, Shelf};
use crate::run::source::{Location, Source};
use crate::run::verify::finding::{Line, Problem};

const CHECK: &str = "exists";

/// The files of a backup, as far as they can be used.
pub struct Examined {
    pub lines: Vec<Line>,
    pub content: Content,
}

/// What there is to look into, with a manifest that can be trusted.
pub enum Content {
    Open(Box<Source>),
    /// No key is here that opens it.
    Locked(Box<Locked>),
    None,
}

/// A sealed container with the manifest beside it.
pub struct Locked {
    pub manifest: Manifest,
    pub stored: Blob,
    pub directory: Shelf,
    /// Why it cannot be opened.
    pub why: String,
}

/// A file, or what is wrong with it.
type Found<T> = std::result::Result<T, Problem>;

/// Looks at both files. Errors: only what concerns the caller, such as a right that is missing.
pub fn examine(location: &Location, facts: Option<&Facts>) -> Result<Examined> {
    let directory = match Shelf::open(&location.directory) {
        Ok(directory) => directory,
        Err(Error::Store(error)) => {
            let line = Line::bad_file(CHECK, Problem::of_store(&error));
            return Ok(Examined { lines: vec![line], content: Content::None });
        }
        Err(error) => return Err(error),
    };
    if let Shelf::Local(directory) = &directory {
        settle::before_reading(directory, &location.file_name)?;
    }
    let mut pair = Pair { location, directory, facts, lines: Vec::new(), failed: RefCell::default() };
    let container = pair.container();
    let beside = pair.beside(container.as_ref().ok().and_then(Opened::own));
    let content = pair.judge(container, beside);
    pair.directory.trouble()?;
    if let Some(error) = pair.failed.take() {
        return Err(error);
    }
    Ok(Examined { lines: pair.lines, content })
}

struct Pair<'a> {
    location: &'a Location,
    directory: Shelf,
    facts: Option<&'a Facts>,
    lines: Vec<Line>,
    /// What went wrong and is no damage.
    failed: RefCell<Option<Error>>,
}

/// A container's file.
struct Opened {
    stored: Blob,
    size: u64,
    inner: Inner,
}

/// What is in it.
enum Inner {
    Open(Box<Container<Blob>>),
    /// What is wrong with it, and its plain bytes where they can be read.
    Broken(Problem, Option<Blob>),
    /// Why no key here opens it.
    Locked(String),
}

impl Opened {
    fn own(&self) -> Option<&Container<Blob>> {
        match &self.inner {
            Inner::Open(own) => Some(own),
            Inner::Broken(..) | Inner::Locked(_) => None,
        }
    }
}

/// The manifest beside: its name and its bytes.
struct Beside {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Pair<'_> {
    fn container(&self) -> Found<Opened> {
        let path = self.location.path();
        let file = self.directory.blob(&self.location.file_name).map_err(|error| self.problem(error))?;
        let unreadable =
            |source| Problem::in_file(&ContainerError::Read { what: "the container".into(), source }, &path);
        let size = file.len().map_err(unreadable)?;
        if size == 0 {
            return Err(Problem::new("empty", format!("file \"{}\" has 0 bytes", path.display())));
        }
        let inner = match blob::opened(file.clone(), &path.display().to_string()) {
            Ok(plain) => match Container::open(plain.clone()) {
                Ok(own) if own.manifest.encryption.is_some() && Form::of(&self.location.file_name) == Form::Plain => {
                    let file = path.display().to_string();
                    let error = EncryptionError::Downgraded { file, told: "its manifest" };
                    Inner::Broken(Problem::of_encryption(&error), None)
                }
                Ok(own) => Inner::Open(Box::new(own)),
                Err(error) => Inner::Broken(Problem::in_file(&error, &path), Some(plain)),
            },
            Err(error) if error.is_locked() => Inner::Locked(error.to_string()),
            Err(error) => Inner::Broken(Problem::of_encryption(&error), None),
        };
        Ok(Opened { stored: file, size, inner })
    }

    /// A file that is not there, or cannot be read. What concerns the caller or the way to a store is kept, to be raised.
    fn problem(&self, error: Error) -> Problem {
        match error {
            Error::Store(error) => Problem::of_store(&error),
            error if shelf::is_missing(&error) => Problem::new("missing", error.to_string()),
            error => {
                let problem = Problem::new("cannot open", error.to_string());
                self.failed.replace(Some(error));
                problem
            }
        }
    }

    /// The manifest beside the container; none where its name cannot be told.
    fn beside(&self, opened: Option<&Container<Blob>>) -> Option<Found<Beside>> {
        let listed = self.location.listed.as_ref().map(|listed| listed.manifest_name.clone());
        let name = listed.or_else(|| match opened {
            Some(own) => {
                names::suffix_of_container(&own.manifest.set_name, &self.location.file_name).map(names::manifest)
            }
            None if Form::of(&self.location.file_name) == Form::Sealed => {
                names::manifest_of_container(&self.location.file_name)
            }
            None => None,
        })?;
        let path = self.directory.path().join(&name);
        let read = || {
            let bytes = self.directory.read(&name).map_err(|error| match error {
                Error::Write(source) => {
                    Problem::in_file(&ContainerError::Read { what: "the manifest".into(), source }, &path)
                }
                error => self.problem(error),
            })?;
            match bytes.is_empty() {
                true => Err(Problem::new("empty", format!("file \"{}\" has 0 bytes", path.display()))),
                false => Ok(bytes),
            }
        };
        Some(read().map(|bytes| Beside { path: path.clone(), bytes }))
    }

    /// Says what is wrong, and finds the manifest to go on with: the one that the catalogue lists; of a backup that it
    /// does not list, the container's own.
    fn judge(&mut self, container: Found<Opened>, beside: Option<Found<Beside>>) -> Content {
        let expected = self.location.listed.as_ref().map(|listed| listed.manifest_sha256.as_str());
        let is_listed = |bytes: &[u8]| expected.is_none_or(|expected| sha256_hex(bytes) == expected);
        let own = container.as_ref().ok().and_then(Opened::own);
        let own_listed = own.is_some_and(|own| is_listed(&own.manifest_bytes));
        let beside_listed = beside.as_ref().and_then(|b| b.as_ref().ok()).is_some_and(|b| is_listed(&b.bytes));
        let own_bytes = own.map(|own| own.manifest_bytes.clone());
        let manifest_bytes = match (own.filter(|_| own_listed), beside.as_ref().filter(|_| beside_listed)) {
            (Some(own), _) => Some(own.manifest_bytes.len()),
            (None, Some(Ok(beside))) => Some(beside.bytes.len()),
            _ => None,
        };
        self.say_container(&container, own_listed, manifest_bytes);
        self.say_beside(beside.as_ref(), beside_listed, own_bytes.as_deref());
        let Ok(container) = container else { return Content::None };
        let beside = beside.and_then(std::result::Result::ok).filter(|_| beside_listed).map(|beside| beside.bytes);
        self.content(container, beside, own_listed).unwrap_or(Content::None)
    }

    fn content(&self, container: Opened, beside: Option<Vec<u8>>, own_listed: bool) -> Option<Content> {
        let Opened { stored, inner, .. } = container;
        let container = match inner {
            Inner::Open(own) if own_listed => *own,
            // The whole file of another backup says nothing of the one that is listed.
            Inner::Open(own) if self.is_other(&own.manifest) => return None,
            Inner::Open(own) => Container::open_by(own.into_source(), beside?).ok()?,
            Inner::Broken(_, plain) => Container::open_by(plain?, beside?).ok()?,
            Inner::Locked(why) => {
                let manifest = Manifest::parse(&beside?).ok()?;
                let directory = self.directory.clone();
                return Some(Content::Locked(Box::new(Locked { manifest, stored, directory, why })));
            }
        };
        Some(Content::Open(Box::new(Source {
            container: Arc::new(container),
            stored,
            location: self.location.clone(),
            directory: self.directory.clone(),
        })))
    }

    fn is_other(&self, manifest: &Manifest) -> bool {
        self.location.listed.as_ref().is_some_and(|listed| listed.backup_id != manifest.backup_id)
    }

    fn say_container(&mut self, container: &Found<Opened>, own_listed: bool, manifest_bytes: Option<usize>) {
        let path = self.location.path().display().to_string();
        let line = match container {
            Err(problem) => Line::bad_file(CHECK, problem.clone()),
            Ok(open) => match (self.wrong_size(open.size, manifest_bytes), &open.inner) {
                (Some(size), Inner::Broken(problem, _)) => {
                    Line::bad_file(CHECK, Problem::new(size.word, format!("{}; {}", size.text, problem.text)))
                }
                (None, Inner::Broken(problem, _)) => Line::bad_file(CHECK, problem.clone()),
                (_, Inner::Open(own)) if !own_listed => Line::bad_file(CHECK, self.not_listed(&path, &own.manifest)),
                (Some(size), Inner::Open(_) | Inner::Locked(_)) => Line::bad_file(CHECK, size),
                (None, Inner::Open(_) | Inner::Locked(_)) => {
                    Line::good(None, CHECK, format!("file \"{path}\" has its {} bytes", open.size))
                }
            },
        };
        self.lines.push(line);
    }

    /// The catalogue has the size of both files together, and the listed manifest is as long as it always was.
    fn wrong_size(&self, size: u64, manifest_bytes: Option<usize>) -> Option<Problem> {
        let told = self.facts?.size_bytes.checked_sub(manifest_bytes? as u64)?;
        let path = self.location.path();
        let text = format!("file \"{}\" has {} bytes, the catalogue says {told}", path.display(), size);
        match size.cmp(&told) {
            std::cmp::Ordering::Less => Some(Problem::new("truncated", text)),
            std::cmp::Ordering::Greater => Some(Problem::new("extra", text)),
            std::cmp::Ordering::Equal => None,
        }
    }

    fn say_beside(&mut self, beside: Option<&Found<Beside>>, listed: bool, own: Option<&[u8]>) {
        // Of two listed manifests both are the same; of a backup that is not listed the container's own counts.
        let is_of_own = |bytes: &[u8]| self.location.listed.is_some() || own.is_none_or(|own| own == bytes);
        let line = match beside {
            None => return,
            Some(Err(problem)) if self.location.listed.is_none() => Line::warning(CHECK, problem.clone()),
            Some(Err(problem)) => Line::bad_file(CHECK, problem.clone()),
            Some(Ok(Beside { path, bytes })) => {
                let shown = path.display().to_string();
                match Manifest::parse(bytes) {
                    Err(error) => Line::bad_file(CHECK, Problem::in_file(&error, path)),
                    Ok(manifest) if !listed => Line::bad_file(CHECK, self.not_listed(&shown, &manifest)),
                    Ok(_) if !is_of_own(bytes) => Line::bad_file(
                        CHECK,
                        Problem::new("changed", format!("file \"{shown}\" is not the manifest inside the container")),
                    ),
                    Ok(_) => Line::good(None, CHECK, format!("file \"{shown}\" has its {} bytes", bytes.len())),
                }
            }
        };
        self.lines.push(line);
    }

    fn not_listed(&self, file: &str, manifest: &Manifest) -> Problem {
        let listed = self.location.listed.as_ref().map_or("", |listed| &listed.backup_id);
        let text = match manifest.backup_id == listed {
            true => {
                format!("file \"{file}\" is not the one that the catalogue lists as \"{listed}\": its manifest differs")
            }
            false => format!(
                "file \"{file}\" is of backup \"{}\", the catalogue lists it as \"{listed}\"",
                manifest.backup_id
            ),
        };
        Problem::new("changed", text)
    }
}
