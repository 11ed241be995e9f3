use super::*;

fn flags(options: &[LogOpt]) -> LogFlags {
    LogFlags { log_driver: LogDriver::JsonFile, log_opt: options.to_vec() }
}

fn said(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let object = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let word = |object: &serde_json::Value, key: &str| object[key].as_str().unwrap().to_owned();
    text.lines().map(object).map(|object| (word(&object, "stream"), word(&object, "log"))).collect()
}

fn pair(stream: &str, line: &str) -> (String, String) {
    (stream.to_owned(), line.to_owned())
}

#[test]
fn lines_are_gathered_until_they_end() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let mut log = Log::new(&flags(&[]), path.clone());
    assert!(!path.exists(), "nothing is opened before the first byte");
    log.write(Stream::Output, b"one\ntw");
    log.write(Stream::Errors, b"bad\n");
    log.write(Stream::Output, b"o\nprompt> ");
    assert_eq!(said(&path), [pair("stdout", "one\n"), pair("stderr", "bad\n"), pair("stdout", "two\n")]);
    log.finish();
    assert_eq!(said(&path).last().unwrap(), &pair("stdout", "prompt> "));
}

#[test]
fn what_was_written_is_what_is_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let line = "a\tb\"c\\d\u{1}\u{1f}é<&>\r\n";
    let mut log = Log::new(&flags(&[]), path.clone());
    log.write(Stream::Output, line.as_bytes());
    log.write(Stream::Output, b"\xff\xfe x\n");
    assert_eq!(said(&path), [pair("stdout", line), pair("stdout", "\u{fffd}\u{fffd} x\n")]);
    let first = fs::read_to_string(&path).unwrap();
    assert!(
        first.starts_with(r#"{"log":"a\tb\"c\\d\u0001\u001fé\u003c\u0026\u003e\r\n","stream":"stdout","time":"2"#),
        "{first}"
    );
}

/// moby daemon/logger/copier_test.go, TestCopierLongLines.
#[test]
fn long_lines_are_cut() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let mut log = Log::new(&flags(&[]), path.clone());
    let line = "x".repeat(40_000) + "\n";
    for chunk in line.as_bytes().chunks(7000) {
        log.write(Stream::Output, chunk);
    }
    let lengths: Vec<usize> = said(&path).iter().map(|(_, text)| text.len()).collect();
    assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, 40_001 - 2 * PIECE_BYTES]);
    let exact = "y".repeat(PIECE_BYTES - 1) + "\n";
    log.write(Stream::Output, exact.as_bytes());
    assert_eq!(said(&path).last().unwrap().1, exact);
}

#[test]
fn files_are_rotated_and_the_oldest_goes() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let mut log = Log::new(&flags(&[LogOpt::MaxSize(Some(1000)), LogOpt::MaxFile(3)]), path.clone());
    for number in 0..100 {
        log.write(Stream::Output, format!("line {number}\n").as_bytes());
    }
    assert!(numbered(&path, 2).exists() && !numbered(&path, 3).exists());
    for number in 0..3 {
        let size = fs::metadata(numbered(&path, number)).unwrap().len();
        assert!(size < 1100, "file {number} has {size} bytes");
    }
    assert_eq!(said(&path).last().unwrap().1, "line 99\n");
    // Another monitor goes on where this one stopped.
    let mut next = Log::new(&flags(&[LogOpt::MaxSize(Some(1000)), LogOpt::MaxFile(3)]), path.clone());
    next.write(Stream::Output, b"again\n");
    assert_eq!(said(&path).last().unwrap().1, "again\n");
}

#[test]
fn one_file_alone_begins_anew() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let mut log = Log::new(&flags(&[LogOpt::MaxSize(Some(500))]), path.clone());
    for number in 0..100 {
        log.write(Stream::Output, format!("line {number}\n").as_bytes());
    }
    assert!(fs::metadata(&path).unwrap().len() < 600);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(said(&path).last().unwrap().1, "line 99\n");
}

#[test]
fn what_cannot_be_written_is_counted() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("missing").join("log");
    let mut log = Log::new(&flags(&[]), path.clone());
    log.write(Stream::Output, b"a\nb\n");
    fs::create_dir(place.path().join("missing")).unwrap();
    log.write(Stream::Output, b"c\n");
    let missing = "rbox: 2 lines of the log are lost: they could not be written\n";
    assert_eq!(said(&path), [pair("stderr", missing), pair("stdout", "c\n")]);
}
