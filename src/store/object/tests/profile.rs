use age::secrecy::ExposeSecret;

use super::*;

const CREDENTIALS: &str = "\
# made by hand
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = abc/def+ghi==#;x
[work]
aws_access_key_id=AKIAWORK
aws_secret_access_key=worksecret
aws_session_token=worktoken
";

const CONFIG: &str = "\
[default]
region = eu-central-1
[profile work]
region = eu-west-1
endpoint_url = https://s3.example.org:3900
s3 =
    addressing_style = path
[profile sso]
sso_session = corp
region = eu-west-2
";

/// An environment whose shared files are these.
struct Home {
    directory: tempfile::TempDir,
    environment: Environment,
}

fn home(variables: &[(&str, &str)]) -> Home {
    let directory = tempfile::tempdir().unwrap();
    let aws = directory.path().join(".aws");
    std::fs::create_dir(&aws).unwrap();
    std::fs::write(aws.join("credentials"), CREDENTIALS).unwrap();
    std::fs::write(aws.join("config"), CONFIG).unwrap();
    let mut environment = Environment::default();
    let own = [("HOME", directory.path().to_str().unwrap())];
    environment
        .variables
        .extend(own.iter().chain(variables).map(|(name, value)| (name.to_string(), value.to_string())));
    Home { directory, environment }
}

fn read(variables: &[(&str, &str)]) -> Result<S3Options, ObjectError> {
    S3Options::from_environment(&home(variables).environment)
}

fn key(options: &S3Options) -> (&str, &str) {
    let credentials = options.credentials.as_ref().unwrap();
    (&credentials.key_id, credentials.secret.expose_secret())
}

#[test]
fn the_default_profile_is_read_to_the_letter() {
    let options = read(&[]).unwrap();
    assert_eq!(key(&options), ("AKIADEFAULT", "abc/def+ghi==#;x"));
    assert_eq!(options.region.as_deref(), Some("eu-central-1"));
    assert_eq!((options.endpoint, options.path_style), (None, None));
}

#[test]
fn a_named_profile_is_read_from_both_files() {
    let options = read(&[("AWS_PROFILE", "work")]).unwrap();
    assert_eq!(key(&options), ("AKIAWORK", "worksecret"));
    assert_eq!(options.credentials.as_ref().unwrap().token.as_ref().unwrap().expose_secret(), "worktoken");
    assert_eq!(options.region.as_deref(), Some("eu-west-1"));
    assert_eq!(options.endpoint.as_deref(), Some("https://s3.example.org:3900"));
    assert_eq!(options.path_style, Some(true));
}

#[test]
fn the_environment_comes_first() {
    let options = read(&[
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", "envsecret"),
        ("AWS_REGION", "us-west-2"),
        ("AWS_ENDPOINT_URL", "http://one"),
        ("AWS_ENDPOINT_URL_S3", "http://two"),
        ("AWS_CA_BUNDLE", "/etc/ca.pem"),
    ])
    .unwrap();
    assert_eq!(key(&options), ("AKIAENV", "envsecret"));
    assert_eq!(options.region.as_deref(), Some("us-west-2"));
    assert_eq!(options.endpoint.as_deref(), Some("http://two"));
    assert_eq!(options.ca_bundle.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
}

#[test]
fn other_files_can_be_named() {
    let home = home(&[]);
    let path = home.directory.path().join("elsewhere");
    std::fs::write(&path, "[default]\naws_access_key_id=AKIAELSE\naws_secret_access_key=s\n").unwrap();
    let options = read(&[("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(key(&options).0, "AKIAELSE");
}

#[test]
fn without_any_file_the_roles_are_left() {
    let variables = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
    let mut environment = Environment::default();
    environment.variables.extend(variables.map(|(name, value)| (name.into(), value.into())));
    let options = S3Options::from_environment(&environment).unwrap();
    assert!(options.credentials.is_none());
    assert_eq!(options.chain.len(), 2);
    assert!(S3::new("bucket", "", &options, limits()).is_ok());
    assert!(S3::new("bucket", "", &S3Options::default(), limits()).is_ok(), "an instance's role is asked for later");
}

#[test]
fn what_cannot_work_is_said_at_once() {
    for (variables, reason) in [
        ([("AWS_PROFILE", "none")].as_slice(), "in neither shared file"),
        (&[("AWS_PROFILE", "sso")], "uses sso_session, which is not supported"),
        (&[("AWS_ACCESS_KEY_ID", "AKIA")], "without aws_secret_access_key"),
        (&[("AWS_SECRET_ACCESS_KEY", "hush")], "without aws_access_key_id"),
    ] {
        let error = read(variables).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("hush"), "{error}");
    }
}

#[test]
fn a_file_that_makes_no_sense_is_not_repeated() {
    let home = home(&[]);
    let path = home.directory.path().join("broken");
    std::fs::write(&path, "[default\naws_secret_access_key = hush\n").unwrap();
    let error = read(&[("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap())]).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("cannot be parsed") && !shown.contains("hush"), "{shown}");
    let shown = format!("{:?}", home.environment);
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn options_never_show_a_secret() {
    let shown = format!("{:?}", read(&[("AWS_PROFILE", "work")]).unwrap());
    assert!(shown.contains("AKIAWORK") && !shown.contains("worksecret") && !shown.contains("worktoken"), "{shown}");
}
