use super::*;

#[test]
fn locations_are_read_and_shown() {
    for (text, shown) in [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://my.bucket-1/a/b/", "s3://my.bucket-1/a/b"),
        ("file:///var/backups", "file:///var/backups"),
    ] {
        assert_eq!(Location::parse(text).unwrap().to_string(), shown);
    }
    let s3 = Location::parse("s3://bucket/a").unwrap();
    assert_eq!(s3, Location::S3 { bucket: "bucket".into(), prefix: "a".into() });
    assert_eq!(s3.join("76").to_string(), "s3://bucket/a/76");
    assert_eq!(Location::parse("s3://bucket").unwrap().join("76").to_string(), "s3://bucket/76");
    assert_eq!(Location::parse("file:///x").unwrap().join("76").to_string(), "file:///x/76");
}

#[test]
fn what_is_no_location_is_refused_without_repeating_it() {
    for (text, error) in [
        ("", LocationError::Scheme),
        ("http://bucket/x", LocationError::Scheme),
        ("/var/backups", LocationError::Scheme),
        ("S3://bucket", LocationError::Scheme),
        ("s3://AKIAKEY:secret@bucket/x", LocationError::Credentials),
        ("s3://key@bucket", LocationError::Credentials),
        ("file://user:secret@host/x", LocationError::Credentials),
        ("s3://bucket?X-Amz-Signature=secret", LocationError::Query),
        ("s3://bucket/a#b", LocationError::Query),
        ("s3://", LocationError::Bucket),
        ("s3:///a", LocationError::Bucket),
        ("s3://Bucket", LocationError::Bucket),
        ("s3://b", LocationError::Bucket),
        ("s3://a..b", LocationError::Bucket),
        ("s3://-abc", LocationError::Bucket),
        ("s3://bücket", LocationError::Bucket),
        ("file://host/x", LocationError::Path("it does not begin with \"/\"")),
        ("file:///a/../b", LocationError::Path("it contains \"..\"")),
        ("file:///a\nb", LocationError::Path("it holds control characters")),
    ] {
        let found = Location::parse(text).unwrap_err();
        assert_eq!(found, error, "{text:?}");
        assert!(!found.to_string().contains("secret") && !found.hint().is_empty());
    }
    for text in ["s3://bucket/a/../b", "s3://bucket/a//b", "s3://bucket/a\nb", "s3://bucket//"] {
        assert!(matches!(Location::parse(text), Err(LocationError::Prefix(_))), "{text:?}");
    }
}
