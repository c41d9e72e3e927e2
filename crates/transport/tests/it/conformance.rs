//! What every transport promises. The tests look at a node only through the transport itself, so
//! that the same ones run wherever a node is.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::Digest;
use portway_transport::{
    Argv, Content, Done, Entry, Mode, Op, Output, Status, Transport, TransportError, Upload,
};

/// How long a command may take that is not to be ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node to try a transport with.
pub(crate) trait Place: Sized {
    type Transport: Transport;

    /// Makes the node ready. Nothing where it cannot be, and the test may be left out.
    async fn begin(test: &str) -> Option<Self>;
    fn transport(&self) -> &Self::Transport;
    /// A folder of the test's own on the node; the one who logs in owns it.
    fn dir(&self) -> &Utf8Path;
}

/// Makes a test of each promise.
macro_rules! conformance {
    ($place:ty) => {
        $crate::conformance::conformance!(@tests $place:
            words_arrive_as_they_are
            standard_input_and_output_carry_any_bytes
            both_streams_and_the_code_come_back
            a_command_need_not_read_its_input
            a_command_that_outlives_its_deadline_is_gone
            a_command_that_ignores_its_end_is_killed
            what_a_command_started_ends_with_it
            a_command_that_leaves_a_process_behind_has_ended
            a_missing_program_is_named
            output_without_end_is_an_error
            output_beyond_what_the_caller_takes_is_an_error
            commands_run_side_by_side
            files_are_written_with_their_modes
            files_have_any_usual_name
            a_thousand_files_are_written_at_once
            a_large_file_comes_back
            files_of_several_folders_are_written_at_once
            a_file_is_never_seen_half
            a_missing_folder_is_named
            a_folder_is_no_place_for_a_file
            a_file_replaces_what_stood_there
            what_others_left_on_the_way_is_removed
            a_missing_file_is_nothing
            a_folder_is_listed_with_digests
            a_missing_folder_lists_as_nothing
            a_name_that_could_deceive_is_refused
            files_and_links_are_removed
            a_link_is_made_and_moved
            a_link_to_a_folder_is_moved_too
            a_link_always_names_something
            several_operations_are_done_in_order
            what_each_of_several_prints_is_its_own
            what_fails_is_the_last_of_several
            each_of_several_prints_no_more_than_its_caller_takes
            folders_are_listed_together
        );
    };
    (@tests $place:ty: $($name:ident)*) => {
        mod conformance {
            $(
                #[tokio::test]
                async fn $name() {
                    let name = concat!(module_path!(), "::", stringify!($name));
                    let place = <$place as $crate::conformance::Place>::begin(name).await;
                    if let Some(place) = place {
                        $crate::conformance::$name(&place).await;
                    }
                }
            )*
        }
    };
}
pub(crate) use conformance;

pub(crate) async fn words_arrive_as_they_are(place: &impl Place) {
    let words = [
        "", "'", "\\", "\\'", "\"", "$(id)", "`id`", "a b", "a\nb", "\t", "!!", "*", "~", "#",
        "-n", "--", "=ls", "a=b", "é", "😀", ";", "&", "|", ">x", "%s", "\\n", "{a,b}",
    ];
    let argv = Argv::new("printf", ["%s\\0"].iter().chain(&words).copied()).unwrap();

    let output = run(place, &argv, b"").await;

    let text = output.stdout_text().into_owned();
    let echoed = text.strip_suffix('\0').unwrap().split('\0').collect::<Vec<_>>();
    assert_eq!(echoed, words);
}

pub(crate) async fn standard_input_and_output_carry_any_bytes(place: &impl Place) {
    let bytes = noise(1 << 20);

    let output = run(place, &words(["cat"]), &bytes).await;

    assert!(output.is_success());
    assert!(output.stdout == bytes, "what came back is not what was sent");
}

pub(crate) async fn both_streams_and_the_code_come_back(place: &impl Place) {
    let output = run(place, &shell(r"printf 'a\377'; printf 'b\376' >&2; exit 3"), b"").await;

    assert_eq!(output.status, Status::Exited(3));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"a\xff"[..], &b"b\xfe"[..])
    );
}

pub(crate) async fn a_command_need_not_read_its_input(place: &impl Place) {
    let output = run(place, &words(["true"]), &noise(4 << 20)).await;

    assert!(output.is_success());
}

pub(crate) async fn a_command_that_outlives_its_deadline_is_gone(place: &impl Place) {
    let pid = place.dir().join("pid");
    let argv = shell(&format!("echo $$ >{pid}; exec sleep 300"));
    let began = Instant::now();

    let ended = place.transport().run(&argv, b"", Duration::from_secs(1)).await;

    assert!(matches!(ended, Err(TransportError::TimedOut { .. })), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_gone(place, &pid).await;
}

pub(crate) async fn a_command_that_ignores_its_end_is_killed(place: &impl Place) {
    let pid = place.dir().join("pid");
    let argv = shell(&format!("trap '' TERM; echo $$ >{pid}; while :; do sleep 1; done"));

    let ended = place.transport().run(&argv, b"", Duration::from_secs(1)).await;

    assert!(matches!(ended, Err(TransportError::TimedOut { .. })), "{ended:?}");
    assert_gone(place, &pid).await;
}

pub(crate) async fn what_a_command_started_ends_with_it(place: &impl Place) {
    let pid = place.dir().join("pid");
    let argv = shell(&format!("sh -c 'echo $$ >{pid}; exec sleep 300'; echo late"));

    let ended = place.transport().run(&argv, b"", Duration::from_secs(1)).await;

    assert!(matches!(ended, Err(TransportError::TimedOut { .. })), "{ended:?}");
    assert_gone(place, &pid).await;
}

pub(crate) async fn a_command_that_leaves_a_process_behind_has_ended(place: &impl Place) {
    let argv = shell("sleep 40 & echo started");
    let began = Instant::now();

    let output = run(place, &argv, b"").await;

    assert!(output.is_success() && output.stdout == b"started\n", "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

pub(crate) async fn a_missing_program_is_named(place: &impl Place) {
    for program in ["portway-no-such-program", "/opt/portway/no-such-program"] {
        let argv = Argv::new(program, ["x"]).unwrap();

        let missing = place.transport().run(&argv, b"", PATIENCE).await;

        let Err(TransportError::NoProgram { program: named, .. }) = missing else {
            panic!("{missing:?}")
        };
        assert_eq!(named, program);
    }
}

pub(crate) async fn output_without_end_is_an_error(place: &impl Place) {
    let argv = shell("head -c 80000000 /dev/zero");

    let long = place.transport().run(&argv, b"", PATIENCE).await;

    assert!(matches!(long, Err(TransportError::TooLong { .. })), "{long:?}");
}

pub(crate) async fn output_beyond_what_the_caller_takes_is_an_error(place: &impl Place) {
    let within = shell("head -c 4096 /dev/zero; head -c 4096 /dev/zero >&2").printing_at_most(4096);
    for stream in ["", " >&2"] {
        let beyond = shell(&format!("head -c 4097 /dev/zero{stream}")).printing_at_most(4096);

        let long = place.transport().run(&beyond, b"", PATIENCE).await;

        let Err(TransportError::TooLong { limit, .. }) = long else { panic!("{long:?}") };
        assert_eq!(limit, 4096);
    }
    let output = run(place, &within, b"").await;
    assert_eq!((output.stdout.len(), output.stderr.len()), (4096, 4096));
}

pub(crate) async fn commands_run_side_by_side(place: &impl Place) {
    let argvs = (0..40).map(|n| shell(&format!("sleep 0.2; echo {n}"))).collect::<Vec<_>>();
    let runs = argvs.iter().map(|argv| run(place, argv, b""));

    let outputs = futures_util::future::join_all(runs).await;

    for (n, output) in outputs.iter().enumerate() {
        assert_eq!(output.stdout_text(), format!("{n}\n"));
    }
}

pub(crate) async fn files_are_written_with_their_modes(place: &impl Place) {
    for bits in [0o600, 0o644, 0o755, 0o400, 0o666, 0o577] {
        let path = place.dir().join(format!("{bits:o}"));
        put(place, &[Upload::new(&path, Mode::new(bits).unwrap(), "x").unwrap()]).await;

        let found = sh(place, &format!("stat -c '%a %s' {path}")).await;

        assert_eq!(found, format!("{bits:o} 1\n"));
    }
}

pub(crate) async fn files_have_any_usual_name(place: &impl Place) {
    let names =
        ["a b", "-n", ".hidden", "..x", "é", "$HOME", "*", "it's", "=x", "files", "sums", "#"];
    let upload = |name: &&str| upload(place, name, name);
    put(place, &names.iter().map(upload).collect::<Vec<_>>()).await;

    let listed = list(place).await;

    let mut names = names.map(str::to_owned);
    names.sort();
    assert_eq!(listed.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>(), names);
    for name in names {
        let content = place.transport().get(&place.dir().join(&name)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(content).unwrap(), name);
    }
}

pub(crate) async fn a_thousand_files_are_written_at_once(place: &impl Place) {
    let files = (0..1000).map(|n| upload(place, &format!("{n:04}.conf"), &format!("server {n};")));
    let files = files.collect::<Vec<_>>();

    put(place, &files).await;

    let expected = files.iter().map(|file| Entry {
        name: file.path().file_name().unwrap().to_owned(),
        content: Content::File {
            size: file.bytes().len() as u64,
            digest: Digest::of(file.bytes()),
        },
    });
    assert_eq!(list(place).await, expected.collect::<Vec<_>>());
}

pub(crate) async fn a_large_file_comes_back(place: &impl Place) {
    let bytes = noise(100_000_000);
    let path = place.dir().join("large");
    put(place, &[Upload::new(&path, Mode::PRIVATE, bytes.clone()).unwrap()]).await;

    let back = place.transport().get(&path).await.unwrap().unwrap();

    assert!(back == bytes, "what came back is not what was sent");
}

pub(crate) async fn files_of_several_folders_are_written_at_once(place: &impl Place) {
    sh(place, &format!("mkdir {0}/one {0}/two", place.dir())).await;
    let files = ["one/a", "two/b", "one/c", "d"].map(|name| upload(place, name, name));

    put(place, &files).await;
    put(place, &[]).await;

    let found = sh(place, &format!("cd {} && find . -type f | sort", place.dir())).await;
    assert_eq!(found, "./d\n./one/a\n./one/c\n./two/b\n");
}

pub(crate) async fn a_file_is_never_seen_half(place: &impl Place) {
    let (one, two) = (vec![b'1'; 3_000_000], vec![b'2'; 2_000_000]);
    let path = place.dir().join("file");
    let upload = |bytes: &[u8]| Upload::new(&path, Mode::PUBLIC, bytes.to_vec()).unwrap();
    put(place, &[upload(&one)]).await;
    let looking = shell(&format!(
        "cd {} && while [ ! -e stop ]; do sha256sum <file; done | sort -u",
        place.dir()
    ));

    let replacing = async {
        for _ in 0..10 {
            put(place, &[upload(&two)]).await;
            put(place, &[upload(&one)]).await;
        }
        sh(place, &format!("touch {}/stop", place.dir())).await;
    };
    let (seen, ()) = tokio::join!(run(place, &looking, b""), replacing);

    let mut whole = [&one, &two].map(|bytes| format!("{}  -\n", Digest::of(bytes)));
    whole.sort();
    assert!(whole.concat().contains(&*seen.stdout_text()), "{}", seen.stdout_text());
    assert!(!seen.stdout.is_empty() && seen.stderr.is_empty(), "{}", seen.stderr_text());
}

pub(crate) async fn a_missing_folder_is_named(place: &impl Place) {
    let missing = place.dir().join("missing");
    let file = Upload::new(missing.join("file"), Mode::PUBLIC, "x").unwrap();

    let failed = place.transport().put(&[file]).await;

    let Err(TransportError::NoFolder { path }) = failed else { panic!("{failed:?}") };
    assert_eq!(path, missing.as_str());
}

pub(crate) async fn a_folder_is_no_place_for_a_file(place: &impl Place) {
    sh(place, &format!("mkdir {}/taken", place.dir())).await;
    let files = ["before", "taken", "then"].map(|name| upload(place, name, "x"));

    let failed = place.transport().put(&files).await;

    assert!(matches!(failed, Err(TransportError::File { .. })), "{failed:?}");
    assert_eq!(sh(place, &format!("ls -A {}", place.dir())).await, "taken\n");
    assert_eq!(sh(place, &format!("ls -A {}/taken", place.dir())).await, "");
}

pub(crate) async fn a_file_replaces_what_stood_there(place: &impl Place) {
    sh(place, &format!("cd {} && echo keep >kept && ln -s kept link && mkfifo pipe", place.dir()))
        .await;

    put(place, &["link", "pipe"].map(|name| upload(place, name, "new"))).await;

    assert_eq!(
        sh(place, &format!("cd {} && stat -c '%n %F' *", place.dir())).await,
        "kept regular file\nlink regular file\npipe regular file\n"
    );
    assert_eq!(sh(place, &format!("cat {}/kept", place.dir())).await, "keep\n");
}

pub(crate) async fn what_others_left_on_the_way_is_removed(place: &impl Place) {
    sh(
        place,
        &format!(
            "cd {} && mkdir .portway-put-old .portway-put-new && touch .portway-put-old/half && \
             touch -d '2020-01-01 00:00' .portway-put-old",
            place.dir()
        ),
    )
    .await;

    put(place, &[upload(place, "file", "x")]).await;

    assert_eq!(sh(place, &format!("ls -A {}", place.dir())).await, ".portway-put-new\nfile\n");
    assert_eq!(list(place).await.len(), 1, "what is on its way is not listed");
}

pub(crate) async fn a_missing_file_is_nothing(place: &impl Place) {
    sh(place, &format!("cd {} && ln -s nowhere dangling", place.dir())).await;

    for missing in ["missing", "missing/file", "dangling"] {
        let found = place.transport().get(&place.dir().join(missing)).await.unwrap();
        assert_eq!(found, None, "{missing}");
    }
    let folder = place.transport().get(place.dir()).await;
    assert!(matches!(folder, Err(TransportError::File { .. })), "{folder:?}");
}

pub(crate) async fn a_folder_is_listed_with_digests(place: &impl Place) {
    sh(
        place,
        &format!(
            "cd {} && mkdir folder && mkfifo pipe && ln -s '/some where/else' link && \
             ln -s folder to-folder && printf abc >file && : >empty && printf x >folder/inner",
            place.dir()
        ),
    )
    .await;

    let found = list(place).await;

    let entry = |name: &str, content| Entry { name: name.to_owned(), content };
    let file =
        |text: &str| Content::File { size: text.len() as u64, digest: Digest::of(text.as_bytes()) };
    let link = |target: &str| Content::Link { target: Utf8PathBuf::from(target) };
    assert_eq!(
        found,
        [
            entry("empty", file("")),
            entry("file", file("abc")),
            entry("folder", Content::Folder),
            entry("link", link("/some where/else")),
            entry("pipe", Content::Other),
            entry("to-folder", link("folder")),
        ]
    );
}

pub(crate) async fn a_missing_folder_lists_as_nothing(place: &impl Place) {
    assert_eq!(place.transport().list(&place.dir().join("missing")).await.unwrap(), None);
    assert_eq!(list(place).await, []);
}

pub(crate) async fn a_name_that_could_deceive_is_refused(place: &impl Place) {
    for name in ["a\nb", "a\\b", "\u{1b}[2J"] {
        let make = Argv::new("touch", [place.dir().join(name).as_str()]).unwrap();
        assert!(run(place, &make, b"").await.is_success());

        let refused = place.transport().list(place.dir()).await;

        assert!(matches!(refused, Err(TransportError::OddPath { .. })), "{name:?}: {refused:?}");
        sh(place, &format!("rm {}/*", place.dir())).await;
    }
}

pub(crate) async fn files_and_links_are_removed(place: &impl Place) {
    sh(place, &format!("cd {} && touch -- a 'b c' -x keep && ln -s keep link", place.dir())).await;
    let gone = ["a", "b c", "-x", "link", "missing"].map(|name| place.dir().join(name));

    place.transport().remove(&gone).await.unwrap();
    place.transport().remove(&[]).await.unwrap();

    assert_eq!(sh(place, &format!("ls -A {}", place.dir())).await, "keep\n");
    sh(place, &format!("mkdir {}/folder", place.dir())).await;
    let folder = place.transport().remove(&[place.dir().join("folder")]).await;
    assert!(matches!(folder, Err(TransportError::File { .. })), "{folder:?}");
}

pub(crate) async fn a_link_is_made_and_moved(place: &impl Place) {
    let link = place.dir().join("current");
    for target in ["releases/1.conf", "/absolute/2.conf", "releases/3 with blanks.conf"] {
        place.transport().relink(&link, Utf8Path::new(target)).await.unwrap();

        let content = Content::Link { target: Utf8PathBuf::from(target) };
        assert_eq!(list(place).await, [Entry { name: "current".to_owned(), content }]);
    }
}

pub(crate) async fn a_link_to_a_folder_is_moved_too(place: &impl Place) {
    sh(place, &format!("cd {} && mkdir one two && ln -s one current", place.dir())).await;

    let link = place.dir().join("current");
    place.transport().relink(&link, Utf8Path::new("two")).await.unwrap();

    assert_eq!(sh(place, &format!("readlink {link}; ls -A {}/one", place.dir())).await, "two\n");
    let folder = place.transport().relink(&place.dir().join("one"), Utf8Path::new("x")).await;
    assert!(matches!(folder, Err(TransportError::File { .. })), "{folder:?}");
}

pub(crate) async fn a_link_always_names_something(place: &impl Place) {
    put(place, &["1", "2"].map(|name| upload(place, name, name))).await;
    let link = place.dir().join("current");
    place.transport().relink(&link, Utf8Path::new("1")).await.unwrap();
    let looking = shell(&format!(
        "cd {} && while [ ! -e stop ]; do cat current; done >/dev/null",
        place.dir()
    ));

    let moving = async {
        for n in 0..20 {
            let target = if n % 2 == 0 { "2" } else { "1" };
            place.transport().relink(&link, Utf8Path::new(target)).await.unwrap();
        }
        sh(place, &format!("touch {}/stop", place.dir())).await;
    };
    let (looked, ()) = tokio::join!(run(place, &looking, b""), moving);

    assert_eq!(looked.stderr_text(), "");
}

/// Waits until the process whose id stands in a file is gone.
pub(crate) async fn assert_gone(place: &impl Place, pid: &Utf8Path) {
    let gone = shell(&format!("i=0; while kill -0 $(cat {pid}); do sleep 0.1; done 2>/dev/null"));
    assert!(run(place, &gone, b"").await.is_success());
}

pub(crate) async fn run(place: &impl Place, argv: &Argv, stdin: &[u8]) -> Output {
    place.transport().run(argv, stdin, PATIENCE).await.unwrap()
}

/// Runs a line of shell that must succeed, and returns what it printed.
pub(crate) async fn sh(place: &impl Place, line: &str) -> String {
    let output = run(place, &shell(line), b"").await;
    assert!(output.is_success(), "{line}: {} {}", output.status, output.stderr_text());
    output.stdout_text().into_owned()
}

pub(crate) async fn put(place: &impl Place, files: &[Upload]) {
    place.transport().put(files).await.unwrap();
}

pub(crate) async fn several_operations_are_done_in_order(place: &impl Place) {
    let (first, second) = (place.dir().join("first"), place.dir().join("a b"));
    let other = place.dir().join("other");
    let work = [
        Op::Put(vec![upload(place, "first", "one")]),
        script(&format!("cat {first}; mkdir {other}")),
        Op::Put(vec![upload(place, "a b", "two"), upload(place, "other/x", "three")]),
        Op::Relink { link: place.dir().join("link"), target: second.clone() },
        Op::Run { argv: words(["cat"]), stdin: b"in".to_vec(), deadline: PATIENCE },
        Op::Remove(vec![first.clone()]),
        Op::Get(second.clone()),
        Op::Get(first.clone()),
        Op::List(vec![place.dir().to_owned(), place.dir().join("missing"), other.clone()]),
        script("echo after"),
    ];

    let results = place.transport().several(&work).await;

    let done: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let [_, one, _, _, echoed, _, two, gone, Done::Listed(listed), after] = &done[..] else {
        panic!("{done:?}")
    };
    let printed = [one, echoed, after].map(|done| ran(done).stdout_text().into_owned());
    assert_eq!(printed, ["one", "in", "after\n"]);
    assert_eq!((two, gone), (&Done::Got(Some(b"two".to_vec())), &Done::Got(None)));
    let names = |entries: &Option<Vec<Entry>>| {
        entries.as_ref().map(|all| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>())
    };
    let expected = [Some(&["a b", "link", "other"][..]), None, Some(&["x"])];
    let expected = expected
        .map(|names| names.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()));
    assert_eq!(listed.iter().map(names).collect::<Vec<_>>(), expected);
}

pub(crate) async fn what_each_of_several_prints_is_its_own(place: &impl Place) {
    let bytes = noise(1 << 18);
    let work = [
        script(r"printf 'a\377'; printf 'b' >&2"),
        Op::Run { argv: words(["cat"]), stdin: bytes.clone(), deadline: PATIENCE },
        script("printf '\\n\\n'; printf 'c\\n' >&2"),
        script("exit 3"),
    ];

    let results = place.transport().several(&work).await;

    let said: Vec<_> = results
        .into_iter()
        .map(|result| {
            let done = result.unwrap();
            let output = ran(&done);
            (output.status.clone(), output.stdout.clone(), output.stderr.clone())
        })
        .collect();
    let ok = Status::Exited(0);
    let expected = [
        (ok.clone(), b"a\xff".to_vec(), b"b".to_vec()),
        (ok.clone(), bytes, Vec::new()),
        (ok, b"\n\n".to_vec(), b"c\n".to_vec()),
        (Status::Exited(3), Vec::new(), Vec::new()),
    ];
    assert!(said == expected, "what came back is not what was printed");
}

pub(crate) async fn what_fails_is_the_last_of_several(place: &impl Place) {
    let after = place.dir().join("after");
    let touch = || script(&format!("echo x >{after}"));
    let nowhere = upload(place, "missing/file", "x");

    let failed = place.transport().several(&[script("true"), script("exit 4"), touch()]).await;
    let missing = place.transport().several(&[Op::Put(vec![nowhere]), touch()]).await;
    let slow =
        Op::Run { argv: shell("sleep 60"), stdin: Vec::new(), deadline: Duration::from_secs(1) };
    let late = place.transport().several(&[script("true"), slow, touch()]).await;

    let [Ok(_), Ok(Done::Ran(output))] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(output.status, Status::Exited(4));
    assert!(matches!(&missing[..], [Err(TransportError::NoFolder { .. })]), "{missing:?}");
    assert!(matches!(&late[..], [Ok(_), Err(TransportError::TimedOut { .. })]), "{late:?}");
    assert_eq!(place.transport().get(&after).await.unwrap(), None, "nothing is done after it");
}

pub(crate) async fn each_of_several_prints_no_more_than_its_caller_takes(place: &impl Place) {
    let after = place.dir().join("after");
    let run = |argv: Argv| Op::Run { argv, stdin: Vec::new(), deadline: PATIENCE };
    let little = || run(shell("head -c 64 /dev/zero").printing_at_most(64));
    for bytes in [65, 80_000_000] {
        let much = shell(&format!("head -c {bytes} /dev/zero")).printing_at_most(64);

        let work = [little(), run(much), script(&format!("true >{after}"))];
        let done = place.transport().several(&work).await;

        let Some(Err(TransportError::TooLong { .. })) = done.last() else { panic!("{done:?}") };
        assert!(
            done.iter().filter_map(|done| done.as_ref().ok()).all(|done| ran(done).is_success())
        );
    }
    let within = place.transport().several(&[little(), little()]).await;
    assert_eq!(within.iter().filter(|done| done.is_ok()).count(), 2, "{within:?}");
}

pub(crate) async fn folders_are_listed_together(place: &impl Place) {
    let inner = place.dir().join("in ner");
    run(place, &words(["mkdir", inner.as_str()]), b"").await;
    put(place, &[upload(place, "a", "1")]).await;
    put(place, &[upload(place, "in ner/a", "2")]).await;

    let folders = vec![place.dir().to_owned(), inner.clone(), place.dir().join("gone")];
    let mut done = place.transport().several(&[Op::List(folders), script("true")]).await;

    assert_eq!(done.len(), 2);
    let Ok(Done::Listed(listed)) = done.remove(0) else { panic!("it is no listing") };
    let file = |bytes: &[u8]| Content::File {
        size: u64::try_from(bytes.len()).unwrap(),
        digest: Digest::of(bytes),
    };
    let entry = |name: &str, content| Entry { name: name.to_owned(), content };
    let outer = vec![entry("a", file(b"1")), entry("in ner", Content::Folder)];
    assert_eq!(listed, [Some(outer), Some(vec![entry("a", file(b"2"))]), None]);
}

fn ran(done: &Done) -> &Output {
    let Done::Ran(output) = done else { panic!("it ran nothing: {done:?}") };
    output
}

fn script(text: &str) -> Op {
    Op::Run { argv: shell(text), stdin: Vec::new(), deadline: PATIENCE }
}

pub(crate) async fn list(place: &impl Place) -> Vec<Entry> {
    place.transport().list(place.dir()).await.unwrap().unwrap()
}

pub(crate) fn upload(place: &impl Place, name: &str, content: &str) -> Upload {
    Upload::new(place.dir().join(name), Mode::PUBLIC, content.to_owned()).unwrap()
}

pub(crate) fn shell(line: &str) -> Argv {
    words(["sh", "-c", line])
}

pub(crate) fn words<const N: usize>(words: [&str; N]) -> Argv {
    let (program, arguments) = words.split_first().unwrap();
    Argv::new(*program, arguments.iter().copied()).unwrap()
}

/// Bytes of every kind that no compression makes smaller.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}
