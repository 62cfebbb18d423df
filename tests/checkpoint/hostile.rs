//! Files made to run code, to exhaust memory or to reach out of bounds, and files that are no
//! checkpoint.

use std::io::Cursor;

use dqn_scaler::model::{Checkpoint, Network};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{read_error, repack, replaced, small, with_pickle};

#[test]
fn hostile_pickles() {
    for (global, name) in [
        ("os\nsystem", "os.system"),
        ("builtins\neval", "builtins.eval"),
        ("torch\nload", "torch.load"),
    ] {
        let pickle = format!("\u{2}c{global}\n(X\u{4}\0\0\0exittR.");
        assert!(read_error(&with_pickle(&[b"\x80", pickle.as_bytes()].concat())).contains(name));
    }
    // STACK_GLOBAL, as protocol 4 names globals.
    assert!(
        read_error(&with_pickle(b"\x80\x04\x8c\x05posix\x8c\x06system\x93."))
            .contains("posix.system")
    );

    let deep =
        [&b"\x80\x02}X\x08\0\0\0metadata"[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"s."]
            .concat();
    assert!(read_error(&with_pickle(&deep)).contains("deeper"));
    let own = b"\x80\x02}q\0X\x08\0\0\0metadatah\0s.";
    assert!(read_error(&with_pickle(own)).contains("deeper"));
    let mut wide = b"\x80\x02}X\x08\0\0\0metadata]q\0".to_vec();
    (0..30).for_each(|_| wide.extend_from_slice(b"0](h\0h\0h\0h\0h\0h\0h\0h\0eq\0"));
    assert!(read_error(&with_pickle(&[&wide, &b"s."[..]].concat())).contains("values"));

    assert!(
        read_error(&with_pickle(&[b"\x80\x02", &b"]".repeat(12 << 20)[..]].concat()))
            .contains("objects")
    );
    assert!(
        read_error(&with_pickle(&[b"\x80\x02", &b"N".repeat(12 << 20)[..]].concat()))
            .contains("opcodes")
    );
    assert!(read_error(&with_pickle(&vec![b'N'; 65 << 20])).contains("data.pkl: is larger"));
    assert!(read_error(&with_pickle(b"\x80\x02X\xff\xff\xff\xff")).contains("ends in the middle"));
    assert!(read_error(&with_pickle(b"\x80\x02.")).contains("value that is not there"));
    assert!(read_error(&with_pickle(b"")).contains("ends in the middle"));
    assert!(read_error(&with_pickle(b"\x80\x02N.")).contains("no dict"));
}

/// One byte of storage and strides of 0 can claim any shape; offsets and lengths can claim any
/// place.
#[test]
fn hostile_views() {
    let file = small().to_bytes().unwrap();
    let mut pickle = Vec::new();
    std::io::copy(
        &mut ZipArchive::new(Cursor::new(&file)).unwrap().by_name("archive/data.pkl").unwrap(),
        &mut pickle,
    )
    .unwrap();
    // The first tensor's offset, shape [4, 8] and strides (8, 1).
    let view = b"QK\x00(J\x04\0\0\0J\x08\0\0\0t(J\x08\0\0\0J\x01\0\0\0t";
    let long = |number: u64| [&b"\x8a\x08"[..], &number.to_le_bytes()].concat();
    let with_view = |new: &[u8]| read_error(&with_pickle(&replaced(&pickle, view, new)));
    let huge = long(1 << 40);
    let zero_strides = [b"QK\x00(", &huge[..], &huge, b"tK\x00K\x00\x86"].concat();
    let wrapping = [b"QK\x00(K\x02K\x01t(", &long(i64::MAX as u64)[..], &huge, b"t"].concat();
    let offset = [b"Q", &long(i64::MAX as u64)[..], b"K\x04K\x08\x86K\x08K\x01\x86"].concat();
    assert!(with_view(&zero_strides).contains("shared_layers.0.weight: the model has more than"));
    assert!(with_view(&wrapping).contains("reaches beyond its storage data/0"));
    assert!(with_view(&offset).contains("reaches beyond its storage data/0"));
    assert!(with_view(b"QK\x00K\x04K\x08\x86K\x08K\x02\x86").contains("reaches beyond"));
    assert!(with_view(b"QK\x00K\x04K\x08\x86K\x01\x85").contains("shape and strides"));
    assert!(
        with_view(b"QJ\xff\xff\xff\xffK\x04K\x08\x86K\x08K\x01\x86").contains("natural number")
    );
    let long_storage = replaced(&pickle, b"J\x20\0\0\0tQ", &[&huge[..], b"tQ"].concat());
    assert!(
        read_error(&with_pickle(&long_storage)).contains("the model has more than 33554432 bytes")
    );
}

#[test]
fn files_that_are_no_checkpoint() {
    let file = small().to_bytes().unwrap();
    assert!(read_error(b"").contains("empty"));
    assert!(read_error(b"weights").contains("no zip file"));
    assert!(read_error(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9").contains("legacy"));
    assert!(read_error(&file[..file.len() - 30]).contains("damaged zip"));
    let big = repack(&file, CompressionMethod::Stored, |name, bytes| {
        if name.ends_with("byteorder") {
            *bytes = b"big".to_vec();
        }
    });
    assert!(read_error(&big).contains("\"big\" is not supported"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a/readme", SimpleFileOptions::default()).unwrap();
    assert!(read_error(&zip.finish().unwrap().into_inner()).contains("no data.pkl"));

    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let error = Network::load(&folder.path().join("absent.pth")).unwrap_err().to_string();
    assert!(error.contains("absent.pth: "), "{error}");

    // A storage that inflates to far more than the pickle says, and one that is not there.
    let bomb = repack(&file, CompressionMethod::Deflated, |name, bytes| {
        if name.ends_with("data/0") {
            *bytes = vec![0; 300 << 20];
        }
    });
    assert!(bomb.len() < 1 << 20);
    assert!(read_error(&bomb).contains("entry data/0: is larger"));
}
