//! A text that no file may hold plainly, and a look into files for it, behind gzip and zstd too.

use std::fs;
use std::io::Read;
use std::path::Path;

use agent_backup_core::stream::plain_reader;
use agent_backup_suite::Database;

/// A text that stands in every row of a table.
pub struct Canary(String);

impl Canary {
    /// Makes a table whose rows do not compress to little, with the text in each.
    pub fn table(db: &Database, name: &str, rows: u32) -> Canary {
        let text = format!("canary-{}-sings", db.name());
        db.run(&format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, v text);
             INSERT INTO {name} SELECT g, '{text} ' || md5(g::text) || md5('x' || g) || md5('y' || g) FROM generate_series(1, {rows}) g"
        ));
        Canary(text)
    }

    /// Whether one of these files holds it.
    pub fn is_in_any_of(&self, files: &[String]) -> bool {
        assert!(!files.is_empty(), "there are files to look into");
        files.iter().any(|file| self.is_in(&fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"))))
    }

    /// Whether a file that a process has open below a directory holds it, named or not.
    pub fn is_in_open_files(&self, pid: i32, below: &Path) -> bool {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the open files");
        let links = open.flatten().map(|entry| entry.path());
        let below = links.filter(|link| fs::read_link(link).is_ok_and(|file| file.starts_with(below)));
        // A file without a name is opened through the link.
        below.into_iter().filter_map(|link| fs::read(link).ok()).any(|bytes| self.is_in(&bytes))
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let plainly = |bytes: &[u8]| bytes.windows(self.0.len()).any(|window| window == self.0.as_bytes());
        let begins = |at: usize| {
            let rest = &bytes[at..];
            rest.starts_with(&[0x1f, 0x8b, 8]) || rest.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        };
        plainly(bytes) || (0..bytes.len()).filter(|&at| begins(at)).any(|at| plainly(&inflated(&bytes[at..])))
    }
}

/// What comes out of the beginning of a compressed stream, as far as it is one.
fn inflated(stored: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    if let Ok(reader) = plain_reader(stored, 1 << 20) {
        // What follows the stream, or that it is none, is an error after what came.
        let _ = reader.take(1 << 20).read_to_end(&mut plain);
    }
    plain
}
