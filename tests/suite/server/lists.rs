//! Hot lists and the switches of labels, as operators change them over HTTP.

use super::*;

async fn admin(running: &Running, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("authorization: Bearer {TOKEN}");
    let path = format!("/admin/v1/{path}");
    send(&running.admin, method, &path, &[&bearer], body.as_bytes()).await
}

async fn verdict(running: &Running, text: &str) -> String {
    let answer = running
        .check(&json!({"id": "1", "text": text}).to_string())
        .await;
    answer.json()["verdict"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_is_given_used_and_removed() {
    let running = Running::start(ServerOptions::default()).await;
    let text = "meet me at evil.example";
    let policy = "[[rule]]\nname = \"bad\"\nwhen = { list = \"bad-domains\" }\naction = \"block\"\nreason = \"bad\"\n";
    let early = admin(&running, "PUT", "policy", policy).await;
    assert_eq!(early.status, 422, "{early:?}");
    assert!(
        early
            .error()
            .contains("policy:3: no list is called `bad-domains`"),
        "{early:?}"
    );

    let list = "lists/bad-domains?kind=domains";
    let empty = admin(&running, "PUT", list, "").await;
    assert_eq!(empty.status, 200, "{empty:?}");
    assert_eq!(admin(&running, "PUT", "policy", policy).await.status, 200);
    assert_eq!(verdict(&running, text).await, "allow");
    // The kind is known by now.
    let given = admin(
        &running,
        "PUT",
        "lists/bad-domains",
        "# seen today\nevil.example\n",
    )
    .await;
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(verdict(&running, text).await, "block");

    let all = admin(&running, "GET", "lists", "").await.json();
    assert_eq!(all["lists"], json!([given.json()]));
    assert_eq!(
        (&all["lists"][0]["kind"], &all["lists"][0]["entries"]),
        (&json!("domains"), &json!(1))
    );
    let used = admin(&running, "DELETE", "lists/bad-domains", "").await;
    assert_eq!(used.status, 409, "{used:?}");
    assert_eq!(
        admin(&running, "PUT", "policy", "rule = []").await.status,
        200
    );
    assert_eq!(
        admin(&running, "DELETE", "lists/bad-domains", "")
            .await
            .status,
        200
    );
    assert_eq!(
        admin(&running, "DELETE", "lists/bad-domains", "")
            .await
            .status,
        404
    );
    assert_eq!(
        admin(&running, "GET", "lists", "").await.json()["lists"],
        json!([])
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_used_changes_nothing_and_its_line_is_named() {
    let running = Running::start(ServerOptions::default()).await;
    let put = async |path: &str, body: &str| {
        let answer = admin(&running, "PUT", &format!("lists/{path}"), body).await;
        (answer.status, answer.error())
    };
    let good = admin(&running, "PUT", "lists/bad?kind=keywords", "free money").await;
    for (path, body, status, said) in [
        (
            "bad",
            "fine\n?!\n",
            422,
            "list:2: `?!` holds no letter or digit",
        ),
        (
            "bad?kind=domains",
            "a.example",
            409,
            "list `bad` holds keywords, not domains",
        ),
        ("new", "x", 400, "a new list needs a kind; add `?kind=`"),
        (
            "new?kind=words",
            "x",
            400,
            "unknown kind of list; write keywords",
        ),
        (
            "new?sort=keywords",
            "x",
            400,
            "unknown query `sort=keywords`; write `?kind=`",
        ),
        ("New?kind=keywords", "x", 422, "`New` is no name for a list"),
        (
            "bad",
            &"x".repeat((4 << 20) + 1),
            413,
            "a list is 4194304 bytes at most",
        ),
    ] {
        let (answered, error) = put(path, body).await;
        assert_eq!(answered, status, "{path}: {error}");
        assert!(error.starts_with(said), "{error}\n  is not {said}");
    }
    let all = admin(&running, "GET", "lists", "").await.json();
    assert_eq!(all["lists"], json!([good.json()]));
    let without = send(&running.admin, "GET", "/admin/v1/lists", &[], b"").await;
    assert_eq!(without.status, 401);
    let public = send(&running.public, "GET", "/admin/v1/lists", &[], b"").await;
    assert_eq!(public.status, 404);
}

#[tokio::test]
async fn a_label_is_switched_off_and_on_again() {
    let running = Running::start(ServerOptions::default()).await;
    let spam = "You have won! Call 09061701461 now";
    let strict = verdict(&running, spam).await;
    assert_ne!(strict, "allow");
    let off = admin(&running, "PUT", "labels/spam", r#"{"killed": true}"#).await;
    assert_eq!((off.status, &off.json()["changed"]), (200, &json!(true)));
    assert_eq!(verdict(&running, spam).await, "allow");
    assert_eq!(
        admin(&running, "GET", "lists", "").await.json()["killed"],
        json!(["spam"])
    );
    let on = admin(&running, "PUT", "labels/spam", r#"{"killed": false}"#).await;
    assert_eq!(on.status, 200, "{on:?}");
    assert_eq!(verdict(&running, spam).await, strict);
    for (path, body, status, said) in [
        (
            "labels/spma",
            r#"{"killed": true}"#,
            404,
            "no loaded detector declares the label `spma`",
        ),
        (
            "labels/a/b",
            r#"{"killed": true}"#,
            404,
            "no loaded detector declares the label `a/b`",
        ),
        ("labels/spam", r#"{"killed": 1}"#, 422, "invalid type"),
        ("labels/spam", "{}", 422, "missing field `killed`"),
        (
            "labels/spam",
            &" ".repeat(2000),
            413,
            "a switch is 1024 bytes at most",
        ),
    ] {
        let answer = admin(&running, "PUT", path, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.error().contains(said), "{answer:?}\n  is not {said}");
    }
}
