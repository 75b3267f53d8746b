//! A layout in one tar file: the same bytes for the same files, and read with
//! suspicion.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

use tar::{Archive, Builder, EntryType, Header};

use super::LayoutError;
use super::source::{FOLDERS, MAX_FILES, is_known, too_many, unreadable};
use crate::excerpt::{NAME_CHARS, printable};

/// Bytes of a tar file after its end: tools fill up their last record.
const MAX_PADDING_BYTES: u64 = 1 << 20;

/// Where a file lies in the tar file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) size: u64,
}

/// Finds every file of a layout in a tar file, reading headers alone.
pub(super) fn entries(
    mut file: &File,
    origin: &str,
) -> Result<BTreeMap<String, Extent>, LayoutError> {
    let length = file
        .metadata()
        .map_err(|error| unreadable(origin, &error))?
        .len();
    let broken = |error: io::Error| LayoutError::Archive {
        place: origin.to_owned(),
        what: format!("not a tar file, or broken: {error}; get it again"),
    };
    let mut found = BTreeMap::new();
    let mut end = 0;
    let mut archive = Archive::new(file);
    // Raw: long names and the like are entries then, and refused below, instead of
    // being read into memory.
    let listing = archive.entries_with_seek().map_err(broken)?.raw(true);
    for (n_before, entry) in listing.enumerate() {
        let entry = entry.map_err(broken)?;
        let (name, extent) = checked(entry.header(), entry.raw_file_position(), length, origin)?;
        end = extent.start + extent.size.next_multiple_of(512);
        if n_before > MAX_FILES + FOLDERS.len() {
            return Err(too_many(origin));
        }
        if entry.header().entry_type() == EntryType::Directory {
            continue;
        }
        if found.insert(name.clone(), extent).is_some() {
            return Err(LayoutError::Archive {
                place: format!("{origin}/{name}"),
                what: "is there twice; pack it again".to_owned(),
            });
        }
    }
    if found.is_empty() {
        return Err(LayoutError::NoPackage {
            path: origin.to_owned(),
        });
    }
    check_padding(&mut file, end, length, origin)?;
    Ok(found)
}

/// An entry's name and extent, when it may stand in a layout.
fn checked(
    header: &Header,
    start: u64,
    length: u64,
    origin: &str,
) -> Result<(String, Extent), LayoutError> {
    let raw = header.path_bytes();
    let shown = printable(&String::from_utf8_lossy(&raw), NAME_CHARS);
    let refused = |what: &str| LayoutError::Archive {
        place: format!("{origin}, entry `{shown}`"),
        what: what.to_owned(),
    };
    let name = String::from_utf8_lossy(&raw);
    // `tar -C LAYOUT -cf FILE .` writes it so.
    let name = name.strip_prefix("./").unwrap_or(&name);
    match header.entry_type() {
        EntryType::Directory => {
            let name = name.trim_end_matches('/');
            if !name.is_empty() && name != "." && !FOLDERS.contains(&name) {
                return Err(refused("is no folder of an OCI image layout; leave it out"));
            }
        }
        EntryType::Regular if is_known(name) => {}
        EntryType::Regular => {
            return Err(refused("is no file of an OCI image layout; leave it out"));
        }
        EntryType::Link | EntryType::Symlink => {
            return Err(refused("is a link; put the file itself there"));
        }
        _ => {
            return Err(refused(
                "is no plain file; make the archive with `trommel plugin pack` or `tar --format=ustar`",
            ));
        }
    }
    let size = header
        .entry_size()
        .map_err(|error| refused(&format!("has no size: {error}")))?;
    // Also what follows is found by it, so a lie about it is not gone past.
    if start.checked_add(size).is_none_or(|end| end > length) {
        return Err(refused(&format!(
            "says that it has {size} bytes, more than the archive holds; get it again"
        )));
    }
    Ok((name.to_owned(), Extent { start, size }))
}

/// After the last entry there are zeros: another archive behind this one would travel
/// with it unseen.
fn check_padding(file: &mut &File, end: u64, length: u64, origin: &str) -> Result<(), LayoutError> {
    let refused = |what: &str| LayoutError::Archive {
        place: origin.to_owned(),
        what: what.to_owned(),
    };
    if length.saturating_sub(end) > MAX_PADDING_BYTES {
        return Err(refused("more follows after the last file; pack it again"));
    }
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(end))
        .and_then(|_| file.take(MAX_PADDING_BYTES).read_to_end(&mut rest))
        .map_err(|error| unreadable(origin, &error))?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(refused("more follows after the last file; pack it again"));
    }
    Ok(())
}

/// Writes files in the order of their names, with nothing in their headers that
/// depends on when, where or by whom.
pub(super) fn write(files: &BTreeMap<String, Vec<u8>>, to: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(to);
    for (name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice())?;
    }
    archive.into_inner()?.flush()
}
