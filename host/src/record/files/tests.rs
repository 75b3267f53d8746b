//! Files that are cut, full, rotated and held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn open(folder: &Path) -> (RecordFiles, u64) {
    RecordFiles::open(folder, 1 << 20, 4).unwrap()
}

fn text(folder: &Path) -> String {
    let numbers = numbers(folder).unwrap();
    let texts = numbers.iter().map(|number| path(folder, *number));
    texts
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn whatever_byte_a_crash_ends_at_whole_lines_stay_and_the_next_stands_for_itself() {
    let lines = ["first\n", "second line\n", "third\n"];
    let whole = lines.concat();
    for cut in 0..=whole.len() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), 1), &whole[..cut]).unwrap();
        let (mut files, n_cut) = open(folder.path());
        files.append(b"after\n").unwrap();
        let mut expected = String::new();
        for line in lines {
            if expected.len() + line.len() > cut {
                break;
            }
            expected.push_str(line);
        }
        assert_eq!(n_cut as usize, cut - expected.len());
        assert_eq!(text(folder.path()), format!("{expected}after\n"));
    }
}

#[test]
fn a_torn_line_longer_than_a_look_is_cut_off_whole() {
    let folder = tempfile::tempdir().unwrap();
    let torn = "x".repeat(3 * CHUNK_BYTES);
    fs::write(path(folder.path(), 1), format!("whole\n{torn}")).unwrap();
    let (_files, n_cut) = open(folder.path());
    assert_eq!(n_cut as usize, torn.len());
    assert_eq!(text(folder.path()), "whole\n");
}

#[test]
fn a_file_that_is_full_is_followed_by_the_next_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = RecordFiles::open(folder.path(), 20, 3).unwrap();
    for n in 0..9 {
        files.append(format!("line {n}...\n").as_bytes()).unwrap();
    }
    // Two lines of ten bytes fill a file.
    assert_eq!(numbers(folder.path()).unwrap(), [3, 4, 5]);
    assert!(text(folder.path()).starts_with("line 4...\n"));
    drop(files);
    let (mut files, _) = RecordFiles::open(folder.path(), 20, 2).unwrap();
    assert_eq!(numbers(folder.path()).unwrap(), [4, 5]);
    files.append(b"longer than a file may be\n").unwrap();
    files.append(b"next\n").unwrap();
    assert_eq!(numbers(folder.path()).unwrap(), [6, 7]);
    assert_eq!(text(folder.path()), "longer than a file may be\nnext\n");
}

#[test]
fn a_full_disk_leaves_no_half_line_and_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicUsize::new(0));
    let left = room.clone();
    let write = move |mut file: &File, line: &[u8]| {
        let n = left.load(Ordering::Relaxed).min(line.len());
        if n == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        left.fetch_sub(n, Ordering::Relaxed);
        file.write(&line[..n])
    };
    let (mut files, _) = RecordFiles::open_on(Box::new(write), folder.path(), 1 << 20, 4).unwrap();
    for n in 0..=6 {
        room.store(6 + n, Ordering::Relaxed);
        files.append(b"whole\n").unwrap();
        let error = files.append(b"torn..\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(text(folder.path()), "whole\n".repeat(n + 1));
    }
    room.store(1 << 20, Ordering::Relaxed);
    files.append(b"last\n").unwrap();
    assert!(text(folder.path()).ends_with("whole\nlast\n"));
}

#[test]
fn two_hosts_do_not_write_to_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = open(folder.path());
    let second = RecordFiles::open(folder.path(), 1, 1);
    assert!(matches!(second.map(|_| ()), Err(RecordError::Held { .. })));
    drop(files);
    open(folder.path());
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "records-1.jsonl",
        "records-+0000002.jsonl",
        "records-00000003.jsonl.gz",
    ] {
        fs::write(folder.path().join(name), "theirs").unwrap();
    }
    let (mut files, _) = RecordFiles::open(folder.path(), 1, 1).unwrap();
    files.append(b"a\n").unwrap();
    files.append(b"b\n").unwrap();
    assert_eq!(numbers(folder.path()).unwrap(), [2]);
    // The lock is one more.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
}

#[cfg(unix)]
#[test]
fn a_planted_link_is_not_written_through_and_nobody_else_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, path(folder.path(), 1)).unwrap();
    assert!(RecordFiles::open(folder.path(), 1, 1).is_err());
    fs::remove_file(path(folder.path(), 1)).unwrap();
    let (mut files, _) = open(folder.path());
    files.append(b"a\n").unwrap();
    let mode = fs::metadata(path(folder.path(), 1))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
