//! Keys for tests of encryption, in files that the server reads.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use age::x25519;
use age_core::secrecy::ExposeSecret;
use agent_backup_core::crypt::{Identities, Opened, Recipients};

use crate::backups::NAME;
use crate::database::Database;
use crate::server::server_user;

/// A key pair, in the two files that age-keygen would make of it.
pub struct KeyFiles {
    /// The file with the secret key.
    pub identity: PathBuf,
    /// The file with the public key.
    pub recipients: PathBuf,
    /// The secret key's text.
    pub secret: String,
    /// The public key's text.
    pub public: String,
}

impl KeyFiles {
    /// Makes a key in files `<name>.key` and `<name>.pub` beside the database's backup directory.
    pub fn make(db: &Database, name: &str) -> KeyFiles {
        let identity = x25519::Identity::generate();
        let (secret, public) = (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string());
        let place = |ending: &str| db.cluster().dir().join(format!("{}_{name}.{ending}", db.name()));
        let (identity, recipients) = (place("key"), place("pub"));
        write(&identity, &format!("# a key of the suite\n{secret}\n"), 0o600);
        write(&recipients, &format!("# a key of the suite\n{public}\n"), 0o644);
        KeyFiles { identity, recipients, secret, public }
    }

    /// The id by which manifests and messages name the key.
    pub fn id(&self) -> String {
        Recipients::parse(&self.public).expect("a public key").key_ids()[0].to_string()
    }

    /// Puts other keys into the recipients file.
    pub fn receive(&self, keys: &[&KeyFiles]) {
        let lines: Vec<&str> = keys.iter().map(|key| key.public.as_str()).collect();
        write(&self.recipients, &lines.join("\n"), 0o644);
    }

    /// The plain bytes of a sealed file; what is wrong with it or with the key.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Opened<fs::File>, String> {
        let file = fs::File::open(path.as_ref()).map_err(|error| error.to_string())?;
        let identities = Identities::parse(&self.secret).expect("a secret key");
        Opened::new(file, &identities).map_err(|error| error.to_string())
    }

    /// Lets sessions of the database that begin from now on open what is sealed for it.
    pub fn give_to(&self, db: &Database) {
        let file = self.identity.display();
        db.run(&format!("ALTER DATABASE {} SET agent_backup.identity_file = '{file}'", db.name()));
    }

    /// Takes all keys from sessions that begin from now on.
    pub fn take_from(db: &Database) {
        db.run(&format!("ALTER DATABASE {} RESET agent_backup.identity_file", db.name()));
    }
}

/// Writes a file of the server's user.
fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode");
    if let Some(user) = server_user() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("the owner");
    }
}

/// Makes the set `s` of these tables, whose backups are sealed for `key`.
pub fn sealed_set(db: &Database, key: &KeyFiles, tables: &[&str]) {
    let file = key.recipients.display();
    db.run(&format!("SELECT agent_backup.create_set('{NAME}', recipients_file => '{file}')"));
    for table in tables {
        db.run(&format!("SELECT agent_backup.add_table('{NAME}', '{table}')"));
    }
}
