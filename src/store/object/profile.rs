//! Credentials and settings of S3 from the usual places of AWS: the environment, then `~/.aws/credentials` and
//! `~/.aws/config`, then the roles that the environment or the instance has. Or given by the caller, who then takes nothing
//! from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use configparser::ini::Ini;

use super::error::ObjectError;

/// A key pair. Its `Debug` shows neither the secret nor the token.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub key_id: String,
    pub secret: SecretString,
    pub token: Option<SecretString>,
}

impl Credentials {
    /// Takes texts over; a token is there with keys that end soon.
    pub fn new(key_id: String, secret: String, token: Option<String>) -> Self {
        Credentials { key_id, secret: SecretString::from(secret), token: token.map(SecretString::from) }
    }
}

/// How to reach S3. What is `None` is as AWS has it.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// Another store's URL, as `http://127.0.0.1:3900`.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// The bucket in the path (true) or in the host's name; without it, in the path where there is an endpoint.
    pub path_style: Option<bool>,
    /// Certificates to trust besides the system's, a PEM file.
    pub ca_bundle: Option<PathBuf>,
    /// Without them, the roles that `chain` tells of, and last the instance's.
    pub credentials: Option<Credentials>,
    /// Settings of web identities, containers and instances, by the names of their variables.
    pub chain: BTreeMap<String, String>,
}

/// The variables and the home directory of a process.
#[derive(Clone, Default)]
pub struct Environment {
    pub variables: BTreeMap<String, String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}

/// Of the variables that name a role, those that the crate `object_store` understands.
const CHAIN: [&str; 8] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
];

/// What a profile may ask for that nothing here can do.
const UNSUPPORTED: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source"];

impl Environment {
    /// Of this process: its `AWS_…` variables and its home.
    pub fn of_process() -> Self {
        let wanted = |(name, _): &(String, String)| name.starts_with("AWS_") || name == "HOME";
        let text =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Environment { variables: text.filter(wanted).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        let home = || Some(Path::new(self.get("HOME")?).join(".aws").join(name));
        self.get(variable).map(PathBuf::from).or_else(home)
    }
}

impl S3Options {
    /// What the environment and the shared files say.
    ///
    /// # Errors
    /// `Misconfigured`: a file that cannot be read as one, a profile that is named and not there, half a key pair, or a
    /// profile that gets its credentials in a way that is not supported.
    pub fn from_environment(environment: &Environment) -> Result<Self, ObjectError> {
        let profile = Profile::read(environment)?;
        let first = |variables: &[&str], key: &str| {
            let variable = variables.iter().find_map(|name| environment.get(name));
            variable.map(str::to_owned).or_else(|| profile.get(key))
        };
        let own = credentials(|name| environment.get(&name.to_ascii_uppercase()).map(str::to_owned))?;
        let credentials = match own {
            Some(own) => Some(own),
            None => credentials(|name| profile.get(name))?,
        };
        let chain = CHAIN.iter().filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())));
        let chain: BTreeMap<String, String> = chain.collect();
        if credentials.is_none() && chain.is_empty() {
            profile.refuse_unsupported()?;
        }
        Ok(S3Options {
            endpoint: first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url"),
            region: first(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region"),
            path_style: profile.get("addressing_style").and_then(|style| match style.as_str() {
                "path" => Some(true),
                "virtual" => Some(false),
                _ => None,
            }),
            ca_bundle: first(&["AWS_CA_BUNDLE"], "ca_bundle").map(PathBuf::from),
            credentials,
            chain,
        })
    }
}

fn credentials(get: impl Fn(&str) -> Option<String>) -> Result<Option<Credentials>, ObjectError> {
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(key_id), Some(secret)) => {
            let token = get("aws_session_token").map(SecretString::from);
            Ok(Some(Credentials { key_id, secret: SecretString::from(secret), token }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(misconfigured("aws_access_key_id is given without aws_secret_access_key")),
        (None, Some(_)) => Err(misconfigured("aws_secret_access_key is given without aws_access_key_id")),
    }
}

/// One profile's lines of both shared files.
struct Profile {
    name: String,
    lines: BTreeMap<String, String>,
}

impl Profile {
    fn read(environment: &Environment) -> Result<Self, ObjectError> {
        let named = environment.get("AWS_PROFILE").or_else(|| environment.get("AWS_DEFAULT_PROFILE"));
        let name = named.unwrap_or("default").to_owned();
        let section = if name == "default" { name.clone() } else { format!("profile {name}") };
        let config = read_section(environment.file("AWS_CONFIG_FILE", "config"), &[&section])?;
        let credentials = environment.file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let credentials = read_section(credentials, &[&name, &section])?;
        if named.is_some() && config.is_none() && credentials.is_none() {
            return Err(misconfigured("the profile that AWS_PROFILE names is in neither shared file"));
        }
        let lines = config.into_iter().chain(credentials).flatten().collect();
        Ok(Profile { name, lines })
    }

    fn get(&self, key: &str) -> Option<String> {
        self.lines.get(key).filter(|value| !value.is_empty()).cloned()
    }

    fn refuse_unsupported(&self) -> Result<(), ObjectError> {
        match UNSUPPORTED.iter().find(|key| self.lines.contains_key(**key)) {
            Some(key) => Err(misconfigured(&format!("profile \"{}\" uses {key}, which is not supported", self.name))),
            None => Ok(()),
        }
    }
}

/// The lines of the first of these sections that a file has; none for no file.
fn read_section(path: Option<PathBuf>, sections: &[&str]) -> Result<Option<BTreeMap<String, String>>, ObjectError> {
    let Some(path) = path else { return Ok(None) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(misconfigured(&format!("\"{}\" cannot be read: {}", path.display(), error.kind())));
        }
    };
    let mut ini = Ini::new_cs();
    ini.set_inline_comment_symbols(Some(&[]));
    // The reader's own message would show the line, which may hold a secret.
    let mut parsed = ini.read(text).map_err(|_| misconfigured(&format!("\"{}\" cannot be parsed", path.display())))?;
    let found = sections.iter().find_map(|section| parsed.remove(*section));
    Ok(found.map(|lines| lines.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()))
}

fn misconfigured(reason: &str) -> ObjectError {
    ObjectError::Misconfigured { what: "be used".into(), reason: reason.into() }
}
