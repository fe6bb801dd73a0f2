use crate::kernel::level::{NoLevel, VARIABLE, arch, asked, named};
use pulp::Arch;
use std::process::Command;

#[test]
fn a_name_stands_for_an_instruction_set_or_says_why_not() {
    assert!(matches!(named("portable"), Ok(Arch::Scalar)));
    for unknown in ["AVX2", "sse2", "avx512 ", "on"] {
        assert_eq!(named(unknown).err(), Some(NoLevel::Unknown), "{unknown}");
    }
    for name in ["avx2", "avx512"] {
        assert_ne!(named(name).err(), Some(NoLevel::Unknown));
    }
    if let Some((name, asked)) = asked() {
        let asked = asked.unwrap_or_else(|why| panic!("{VARIABLE} is `{name}`, {}", why.reason()));
        assert_eq!(format!("{:?}", arch()), format!("{asked:?}"));
    }
}

/// Runs the other tests of kernels in a process of its own: the variable is read once.
#[test]
fn every_instruction_set_of_this_processor_agrees() {
    if asked().is_some() {
        return;
    }
    for name in ["avx2", "portable"] {
        if named(name).is_err() {
            eprintln!("skipped: this processor has no {name}");
            continue;
        }
        let tests = Command::new(std::env::current_exe().unwrap()).arg("kernel::tests").env(VARIABLE, name).output();
        let tests = tests.unwrap();
        let told = String::from_utf8_lossy(&tests.stdout);
        assert!(tests.status.success() && told.contains("test result: ok"), "{name}:\n{told}");
        eprintln!("{name}: {}", told.lines().rfind(|line| line.contains("test result")).unwrap());
    }
}
