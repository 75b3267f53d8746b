//! What `check` was given, one item after the other.
//!
//! Reads on a thread of its own and hands items on through a bounded channel,
//! so that a slow source never holds up a verdict and a fast one never fills
//! memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trommel::item::{Item, ItemBounds, PartKind};
use walkdir::WalkDir;

/// Bytes of the longest file or line taken; text bounds are tighter still.
const MAX_BYTES: u64 = 16 << 20;

/// Bytes of inputs that were read and are not judged yet. More than any one has.
const MAX_HELD_BYTES: usize = 128 << 20;

/// What held bytes are counted in.
const HELD_UNIT: usize = 1 << 10;

/// Bytes of the longest image file taken.
const MAX_IMAGE_BYTES: u64 = 32 << 20;

/// Inputs that wait to be judged.
const MAX_WAITING: usize = 64;

/// One input, or why it is none.
pub(super) struct Input {
    /// Where it came from: a path, or a path or `-` with a line number.
    pub(super) place: String,
    /// What it holds.
    pub(super) content: Result<Raw, String>,
    /// Room for its bytes, until it is judged.
    pub(super) room: OwnedSemaphorePermit,
}

/// An input's content, not yet parsed: that is done by many at once.
pub(super) enum Raw {
    /// A file that is text.
    Text(Vec<u8>),
    /// A JSON object: a line or a file.
    Json(Vec<u8>),
    /// A file that is named as an image.
    Image(Vec<u8>),
}

impl Raw {
    fn n_bytes(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Json(bytes) | Self::Image(bytes) => bytes.len(),
        }
    }
}

impl Input {
    /// The item, or what is wrong with the input. Images that a JSON object names by
    /// their paths are not opened yet.
    pub(super) fn into_item(self) -> (String, Result<Item, String>, OwnedSemaphorePermit) {
        let place = self.place;
        let item = self.content.and_then(|raw| match raw {
            Raw::Text(bytes) => {
                Item::from_text_bytes(place.clone(), bytes).map_err(|error| error.to_string())
            }
            Raw::Json(bytes) => Item::from_json(&bytes).map_err(|error| error.to_string()),
            Raw::Image(bytes) => Ok(Item::from_image_bytes(place.clone(), bytes)),
        });
        (place, item, self.room)
    }
}

/// Reads the images that an item names by their paths, seen from the working
/// directory, as far as its bounds allow. Blocking.
pub(super) fn open_images(item: &mut Item, bounds: &ItemBounds) -> Result<(), String> {
    let n_images = item.part_ids(PartKind::Image).count();
    if n_images > bounds.n_images {
        let most = bounds.n_images;
        return Err(format!(
            "the item holds {n_images} images, at most {most} are taken; split it"
        ));
    }
    let mut left = bounds.image_bytes as u64;
    item.open_images(|path| {
        let bytes =
            whole(Path::new(path), left).map_err(|error| format!("image {path} {error}"))?;
        left -= bytes.len() as u64;
        Ok(bytes)
    })
}

/// Where inputs come from.
#[derive(Default)]
pub(super) struct Sources {
    /// Files of JSON lines, whatever they are called, or `-`.
    pub(super) lines: Vec<PathBuf>,
    /// Files, folders, or `-` for JSON lines on standard input.
    pub(super) paths: Vec<PathBuf>,
    /// Texts given as arguments.
    pub(super) texts: Vec<String>,
}

/// Starts reading; the receiver ends with the last input. Within a tokio runtime.
pub(super) fn read(sources: Sources) -> io::Result<Receiver<Input>> {
    let (send, receive) = channel(MAX_WAITING);
    let reader = Reader {
        send,
        room: Arc::new(Semaphore::new(MAX_HELD_BYTES / HELD_UNIT)),
        runtime: Handle::current(),
    };
    std::thread::Builder::new()
        .name("trommel-input".to_owned())
        // An error is a receiver that has gone: nobody wants more.
        .spawn(move || reader.read(sources).unwrap_or_default())?;
    Ok(receive)
}

struct Reader {
    send: Sender<Input>,
    room: Arc<Semaphore>,
    runtime: Handle,
}

/// The receiver has gone.
#[derive(Debug)]
struct Gone;

type Sent = Result<(), Gone>;

impl Reader {
    fn read(&self, sources: Sources) -> Sent {
        for (index, text) in sources.texts.into_iter().enumerate() {
            self.put(
                format!("text-{}", index + 1),
                Ok(Raw::Text(text.into_bytes())),
            )?;
        }
        for path in &sources.lines {
            self.file_of_lines(path)?;
        }
        for path in &sources.paths {
            if path.as_os_str() == "-" {
                self.file_of_lines(path)?;
            } else if path.is_dir() {
                self.folder(path)?;
            } else {
                self.file(path)?;
            }
        }
        Ok(())
    }

    fn put(&self, place: String, content: Result<Raw, String>) -> Sent {
        let n_bytes = content.as_ref().map_or(0, Raw::n_bytes);
        let n_units = u32::try_from(n_bytes.div_ceil(HELD_UNIT)).expect("inputs are bounded");
        let room = self.room.clone().acquire_many_owned(n_units);
        let room = self.runtime.block_on(room).map_err(|_| Gone)?;
        self.send
            .blocking_send(Input {
                place,
                content,
                room,
            })
            .map_err(|_| Gone)
    }

    /// Every file below `folder`, by name; hidden ones are left out, and links
    /// to folders are not followed, so a loop of links ends.
    fn folder(&self, folder: &Path) -> Sent {
        let hidden = |entry: &walkdir::DirEntry| {
            entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.')
        };
        let entries = WalkDir::new(folder).sort_by_file_name().into_iter();
        for entry in entries.filter_entry(|entry| !hidden(entry)) {
            match entry {
                Ok(entry) if entry.path().is_dir() => {}
                Ok(entry) => self.file(entry.path())?,
                Err(error) => {
                    let place = error.path().unwrap_or(folder).display().to_string();
                    self.put(place, Err(format!("cannot be walked: {error}")))?;
                }
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Sent {
        let place = path.display().to_string();
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "png" | "gif" | "webp" | "bmp" => {
                self.put(place, whole(path, MAX_IMAGE_BYTES).map(Raw::Image))
            }
            "jsonl" | "ndjson" => self.file_of_lines(path),
            "json" => self.put(place, whole(path, MAX_BYTES).map(Raw::Json)),
            _ => self.put(place, whole(path, MAX_BYTES).map(Raw::Text)),
        }
    }

    fn file_of_lines(&self, path: &Path) -> Sent {
        if path.as_os_str() == "-" {
            return self.lines("-", io::stdin().lock());
        }
        let place = path.display().to_string();
        match open(path) {
            Ok(file) => self.lines(&place, BufReader::new(file)),
            Err(error) => self.put(place, Err(error)),
        }
    }

    /// One item per line; blank lines are skipped, and a line too long is named
    /// and passed over.
    fn lines(&self, source: &str, mut lines: impl BufRead) -> Sent {
        for number in 1_usize.. {
            let place = format!("{source}:{number}");
            let mut line = Vec::new();
            match lines.by_ref().take(MAX_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(n) if n as u64 == MAX_BYTES && !line.ends_with(b"\n") => {
                    self.put(
                        place,
                        Err(format!(
                            "the line is longer than {MAX_BYTES} bytes; split it"
                        )),
                    )?;
                    if lines.skip_until(b'\n').is_err() {
                        return Ok(());
                    }
                }
                Ok(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => self.put(place, Ok(Raw::Json(line)))?,
                Err(error) => return self.put(place, Err(format!("cannot be read: {error}"))),
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, String> {
    // Asked first: opening a pipe waits for its writer, and a device is endless.
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            Err("is no file; give a file or folder, or `-` for JSON lines".to_owned())
        }
        Ok(_) => File::open(path).map_err(|error| format!("cannot be opened: {error}")),
        Err(error) => Err(format!("cannot be opened: {error}")),
    }
}

fn whole(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "has more than {most} bytes; split it or make it smaller"
        ));
    }
    Ok(bytes)
}
