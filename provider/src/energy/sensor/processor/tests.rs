use super::super::Finding;
use super::super::fixture::{BackEnd, Folder};
use super::*;

const WATTS: Watts = Watts { idle_milliwatts: 20_000, busy_milliwatts: 100_000 };

pub(in super::super) fn back_ends() -> [BackEnd; 2] {
    ["proc-cpu", "cgroup-cpu"].map(|name| BackEnd::of_files(name, |root| discover(root, WATTS)))
}

fn machine(files: &[(&str, &str)]) -> (Folder, Root) {
    let folder = Folder::new();
    folder.write("proc/stat", b"cpu  500 100 200 9000 7 10 20 30 40 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n");
    folder.write("proc/self/stat", b"7 (a b) c) R 1 1 1 0 -1 4194304 99 0 0 0 300 30 0 0 20 0 1 0 83096");
    files.iter().for_each(|(path, text)| folder.write(path, text.as_bytes()));
    let root = Root::new(folder.path());
    (folder, root)
}

#[test]
fn energy_is_idle_power_and_busy_time() {
    let (folder, root) = machine(&[]);
    let begin = Instant::now();
    root.set_now(begin);
    let mut discovered = discover(&root, WATTS);
    let mut read = |at| {
        root.set_now(begin + Duration::from_secs(at));
        let reading = discovered.sensors[0].read().unwrap();
        let Value::Counter { microjoules, wraps_after: None } = reading.value else { panic!() };
        (microjoules, reading.foreign_microjoules)
    };
    // 8.3 s of one of four threads are 80 W / 4 × 8.3 s = 166 J, and 5 s of them were others'.
    assert_eq!(read(0), (166_000_000, 100_000_000));
    assert_eq!(read(10), (166_000_000 + 200_000_000, 100_000_000));
    folder.write("proc/self/stat", b"7 (a) R 1 1 1 0 -1 4194304 99 0 0 0 400 30 0 0 20 0 1 0 83096");
    assert_eq!(read(10).1, 100_000_000, "never less");
    assert_eq!(discovered.sensors[0].description().most_milliwatts, Some(100_000));
}

#[test]
fn a_quota_is_the_machine() {
    let (_folder, root) = machine(&[
        ("proc/self/cgroup", "0::/system.slice/node.service\n"),
        ("sys/fs/cgroup/system.slice/cpu.max", "200000 100000\n"),
        ("sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 5000000\nuser_usec 1\n"),
        ("sys/fs/cgroup/system.slice/node.service/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/system.slice/node.service/cpu.stat", "usage_usec 4000000\n"),
    ]);
    let begin = Instant::now();
    root.set_now(begin);
    let mut discovered = discover(&root, WATTS);
    root.set_now(begin + Duration::from_secs(10));
    let reading = discovered.sensors[0].read().unwrap();
    // Half of 20 W for 10 s, and 80 W / 4 for 5 s, of which 3.3 s were our own.
    let value = Value::Counter { microjoules: 200_000_000, wraps_after: None };
    assert_eq!((reading.value, reading.foreign_microjoules), (value, 34_000_000));
    let description = discovered.sensors[0].description();
    assert_eq!((description.back_end, description.most_milliwatts), ("cgroup-cpu", Some(50_000)));
}

#[test]
fn the_confining_group_is_found() {
    let quota = Some((50_000, 100_000));
    let limit = |path: &'static str| (path, "50000 100000");
    let free = |path: &'static str| (path, "max 100000");
    let own = ("proc/self/cgroup", "4:cpu:/x\n0::/a/b\n");
    let case = |files: &[(&str, &str)]| {
        let (_folder, root) = machine(files);
        group(&root).map(|group| (group.folder.strip_prefix(GROUPS).unwrap().to_owned(), group.quota))
    };
    let found = |folder: &str, quota| Some((PathBuf::from(folder), quota));
    assert_eq!(case(&[]), None);
    assert_eq!(case(&[own, free("sys/fs/cgroup/a/b/cpu.max")]), None, "a service without a quota");
    assert_eq!(case(&[own, limit("sys/fs/cgroup/a/b/cpu.max")]), found("a/b", quota));
    let outer = [own, free("sys/fs/cgroup/a/b/cpu.max"), limit("sys/fs/cgroup/a/cpu.max")];
    assert_eq!(case(&outer), found("a", quota));
    assert_eq!(case(&[own, free("sys/fs/cgroup/cpu.max")]), found("", None), "a container that sees only itself");
    let outside = ("proc/self/cgroup", "0::/../../other\n");
    assert_eq!(case(&[outside, limit("sys/fs/cgroup/cpu.max")]), found("", quota));
    let marked = [own, free("sys/fs/cgroup/a/b/cpu.max"), (".dockerenv", "")];
    assert_eq!(case(&marked), found("a/b", None), "a container that sees its host's groups");
}

#[test]
fn an_unreadable_group_leaves_the_machine() {
    let (_folder, root) = machine(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "max 100000")]);
    let discovered = discover(&root, WATTS);
    assert!(matches!(
        &discovered.findings[..],
        [Finding::Unusable { back_end: "cgroup-cpu", .. }, Finding::Found(Description { back_end: "proc-cpu", .. })]
    ));
}

#[test]
fn nonsense_is_no_time() {
    for stat in ["", "cpu 1 2 3", "cpu 1 2 x 4 5 6 7", "cpu0 1 2 3 4 5 6 7"] {
        assert_eq!(busy(stat), None, "{stat}");
    }
    for stat in ["", "1 (x", "1 (x) R 1 1 1 0 -1 4194304 99 0 0 0 300", "1 (x) R 1 1 1 0 -1 4194304 99 0 0 0 x 3"] {
        assert_eq!(own(stat), None, "{stat}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn this_machine_can_be_estimated() {
    let mut discovered = discover(&Root::new("/"), WATTS);
    let [sensor] = &mut discovered.sensors[..] else { panic!("{:?}", discovered.findings) };
    let mut read = || match sensor.read().unwrap() {
        Reading { value: Value::Counter { microjoules, .. }, foreign_microjoules, .. } => {
            (microjoules, foreign_microjoules)
        }
        Reading { value: Value::Gauge { .. }, .. } => panic!("a gauge"),
    };
    let ((before, foreign_before), (after, foreign_after)) = (read(), read());
    assert!(before > 0 && before < after && foreign_before <= foreign_after && foreign_after <= after);
}
