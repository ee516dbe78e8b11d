//! References in a Task's texts.

use std::collections::BTreeMap;

use baton_protocol::reference::ResultRef;

use crate::diagnostic::{FieldPath, excerpt};
use crate::params::ParamValue;
use crate::reference::{Access, Part, Reference, parts};
use crate::report::Report;
use crate::task::{Param, ParamType, Step, StepResult};

/// What a text may refer to.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) params: &'a BTreeMap<&'a str, &'a Param>,
    /// The steps before this one; none where results have no meaning, and why.
    pub(super) earlier: Result<&'a Earlier<'a>, &'a str>,
    /// The results of the step itself.
    pub(super) own: &'a [StepResult],
}

/// The steps before a step, and where the others are.
#[derive(Default)]
pub(super) struct Earlier<'a> {
    pub(super) steps: BTreeMap<&'a str, &'a [StepResult]>,
    pub(super) all: &'a [&'a Step],
}

/// What a text is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A word of a command: `$(params.NAME[*])` may stand alone in it.
    Word,
    /// A text that the entrypoint resolves: results may be in it.
    Value,
    /// A text of a condition: resolved as well, before there is anything of the step's own.
    Condition,
    /// A text that nobody resolves at run time: parameters only.
    Fixed,
    /// The path of a captured stream: parameters, and the files of own results.
    Capture,
}

pub(super) fn text(
    text: &str,
    usage: Use,
    scope: Scope<'_>,
    path: &FieldPath,
    report: &mut Report,
) {
    no_nul(text, path, report);
    let parts = parts(text);
    let alone = parts.len() == 1;
    for part in parts {
        match part {
            Part::Literal(_) => {}
            Part::Malformed(written) => report.at(path, malformed(written)),
            Part::Reference(written, Reference::Param(name, access)) => {
                param(
                    written,
                    name,
                    access,
                    usage == Use::Word && alone,
                    scope,
                    path,
                    report,
                );
            }
            Part::Reference(written, Reference::StepResult(wanted)) => match usage {
                Use::Word | Use::Value | Use::Condition => {
                    step_result(&wanted, scope, path, report)
                }
                Use::Fixed | Use::Capture => {
                    let message = format!(
                        "{written} has no meaning here; results reach a step by command, args, env and when"
                    );
                    report.at(path, message);
                }
            },
            Part::Reference(written, Reference::OwnPath(name)) => match usage {
                Use::Fixed | Use::Condition => {
                    let message = format!("{written} has no meaning here");
                    report.at(path, message);
                }
                _ => own_result(written, name, scope, path, report),
            },
        }
    }
}

/// Reports a character that no program can be handed.
pub(super) fn no_nul(text: &str, path: &FieldPath, report: &mut Report) {
    if text.contains('\0') {
        report.at(path, "a NUL character cannot be handed to a program");
    }
}

/// A script: only the files of own results are put into it.
pub(super) fn script(script: &str, own: Scope<'_>, path: &FieldPath, report: &mut Report) {
    for part in parts(script) {
        // A shell has a `$(...)` of its own: what is malformed for us may be meant for it.
        let Part::Reference(written, reference) = part else {
            continue;
        };
        match reference {
            Reference::OwnPath(name) => own_result(written, name, own, path, report),
            Reference::Param(..) => report.at(
                path,
                format!("{written} is not put into scripts, as its value would be run; pass it by env or args"),
            ),
            Reference::StepResult(_) => report.at(
                path,
                format!("{written} is not put into scripts, as the result would be run; pass it by env or args"),
            ),
        }
    }
}

fn malformed(written: &str) -> String {
    let form = if written.starts_with("$(params") {
        "$(params.NAME), $(params.NAME[*]), $(params.NAME[0]) or $(params.NAME.KEY)"
    } else if written.starts_with("$(steps") {
        "$(steps.NAME.results.RESULT)"
    } else {
        "$(results.NAME.path)"
    };
    format!("{:?} is malformed; expected {form}", excerpt(written))
}

fn own_result(written: &str, name: &str, scope: Scope<'_>, path: &FieldPath, report: &mut Report) {
    let names = || scope.own.iter().map(|r| r.name.as_str());
    if !names().any(|own| own == name) {
        let message = format!("{written}: this step declares no result {name:?}");
        report.suggest(path, message, name, names());
    }
}

fn step_result(wanted: &ResultRef, scope: Scope<'_>, path: &FieldPath, report: &mut Report) {
    let (step, result) = (wanted.step.as_str(), wanted.result.as_str());
    let earlier = match scope.earlier {
        Ok(earlier) => earlier,
        Err(why) => return report.at(path, format!("{wanted}: {why}")),
    };
    match earlier.steps.get(step) {
        Some(results) => {
            let names = || results.iter().map(|r| r.name.as_str());
            if !names().any(|name| name == result) {
                let message = format!("{wanted}: step {step:?} declares no result {result:?}");
                report.suggest(path, message, result, names());
            }
        }
        None if earlier.all.iter().any(|s| s.name == step) => {
            report.at(
                path,
                format!("{wanted}: step {step:?} does not run before this one"),
            );
        }
        None => {
            let message = format!("{wanted}: there is no step {step:?}");
            report.suggest(path, message, step, earlier.steps.keys().copied());
        }
    }
}

fn param(
    written: &str,
    name: &str,
    access: Access<'_>,
    may_be_list: bool,
    scope: Scope<'_>,
    path: &FieldPath,
    report: &mut Report,
) {
    let Some(param) = scope.params.get(name) else {
        let message = format!("{written}: there is no parameter {name:?}");
        return report.suggest(path, message, name, scope.params.keys().copied());
    };
    let fault = match (param.kind(), access) {
        (ParamType::String, Access::Whole) | (ParamType::Array, Access::Index(_)) => return,
        (ParamType::Object, Access::Key(key)) => {
            if let Some(ParamValue::Object(default)) = param.default_value()
                && !default.contains_key(key)
            {
                let message = format!("{written}: the default of {name:?} has no key {key:?}");
                report.suggest(path, message, key, default.keys().map(String::as_str));
            }
            return;
        }
        (ParamType::Array, Access::All) if may_be_list => return,
        (ParamType::Array, Access::All) => {
            format!(
                "{written} stands for several words: it has to be a whole element of command or args"
            )
        }
        (ParamType::Array, _) => {
            format!("{name:?} is an array; write $(params.{name}[*]) or $(params.{name}[0])")
        }
        (ParamType::Object, _) => format!("{name:?} is an object; write $(params.{name}.KEY)"),
        (ParamType::String, _) => format!("{name:?} is a string; write $(params.{name})"),
    };
    report.at(path, fault);
}
