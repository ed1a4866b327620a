"""IEC 62443-4-2 as one table: what is asked of a gateway, what shows it, whose duty it is, what is missing.

`python -m tests.conformance.iec62443` writes docs/conformance/iec62443-4-2.md from here; a test asserts that
the page is in step and that every test it names exists. Requirements are paraphrased and numbered as in the
standard's Table B.1 for software applications (SAR) and network devices (NDR).
"""

from collections import Counter
from pathlib import Path
from typing import Literal

from msgspec import Struct

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "conformance" / "iec62443-4-2.md"

Verdict = Literal["shown", "in part", "host", "not met", "does not apply"]


class Row(Struct, frozen=True):
    """One requirement."""

    id: str
    words: str
    verdict: Verdict
    tests: tuple[str, ...] = ()
    "`folder/test_file.py::test_function`, below tests/."
    note: str = ""
    "What the host must do, what is missing, or why it does not apply."


VERDICTS: dict[Verdict, str] = {
    "shown": "the tests named show it as paraphrased here",
    "in part": "the tests show a part; the note says what is missing",
    "host": "a duty of the machine, the operating system or the site; the note says which",
    "not met": "nothing shows it; the note says what is missing",
    "does not apply": "there is nothing in the product that it could be about",
}
PASSWORDS = "There are no passwords and no log-in screen: people and programs show certificates."
SIGNED = "unit/policy/test_signature.py::test_a_signature_that_does_not_hold"
MUTATED = "unit/audit/test_mutations.py::test_what_is_done_to_signed_records_is_found"

TABLE: tuple[Row, ...] = (
    Row(
        "CCSC 1",
        "essential functions go on",
        "in part",
        (
            "faults/test_journal_unwritable.py::test_writes_stop_reads_go_on_for_a_while_and_the_gap_is_told",
            "faults/test_opa_away.py::test_without_opa",
            "faults/test_stale_trust.py::test_invariant_11_an_expired_gateway_certificate_alarms_and_polling_goes_on",
        ),
        "That the plant runs on without the gateway is how a site is built: it never stands between HMI and"
        " PLC.",
    ),
    Row(
        "CCSC 3",
        "least privilege",
        "in part",
        ("unit/review/test_desk.py::test_the_child_ends_with_its_input_and_steps_back",),
        "One process still holds plant, IT and journal; the host gives it a user of its own. Processes apart"
        " in a sandbox are missing.",
    ),
    Row(
        "CCSC 4",
        "developed as IEC 62443-4-1 asks",
        "not met",
        (),
        "No audited development process. There are a threat model, fuzzing, property tests and a lock file"
        " with hashes; an SBOM is missing.",
    ),
    Row(
        "CR 1.1 RE1",
        "people are identified, each as one",
        "shown",
        (
            "interop/test_admin_api.py::test_a_machine_is_denied_everything_and_the_denial_is_recorded",
            "interop/test_admin_api.py::test_without_a_certificate_nobody_gets_in",
            "unit/admin/test_approvals.py::test_another_name_over_the_requesters_key_is_no_other_person",
        ),
    ),
    Row(
        "CR 1.1 RE2",
        "people show two factors",
        "host",
        (),
        "A certificate's key is one factor. A smart card that holds it, and its PIN, are the site's.",
    ),
    Row(
        "CR 1.2 RE1",
        "programs and devices are identified, each as one",
        "in part",
        (
            "interop/test_tls.py::test_without_a_certificate_the_alert_is_fatal",
            "interop/test_tls.py::test_the_other_zones_certificate_does_not_get_in",
            "interop/identity/test_openssl.py::test_what_tls_lets_through_is_still_judged",
        ),
        "Devices behind the gateway speak plain Modbus and identify themselves by nothing.",
    ),
    Row(
        "CR 1.3, 1.4",
        "accounts and identifiers are administered",
        "in part",
        (
            "faults/test_grants_live.py::test_a_grant_removed_denies_the_next_request_on_a_connection_that_stays",
            "unit/identity/test_authority.py::test_a_serial_is_in_the_index_before_its_certificate_is_in_the_world",
        ),
        "Accounts are subjects in policy data and certificates of the site's authority; a directory is the"
        " site's.",
    ),
    Row(
        "CR 1.5",
        "authenticators can be changed and are protected",
        "shown",
        (
            "unit/identity/test_authority.py::test_keys_are_private_from_the_first_byte",
            "unit/identity/test_contexts.py::test_a_key_that_others_may_touch_is_refused",
            "unit/policy/test_source.py::test_a_key_may_be_replaced_while_it_runs",
        ),
    ),
    Row("CR 1.5 RE1", "authenticators in hardware", "not met", (), "Keys are files; no TPM or HSM is used."),
    Row("CR 1.7", "strength of passwords", "does not apply", (), PASSWORDS),
    Row(
        "CR 1.8",
        "certificates of a public-key infrastructure",
        "shown",
        (
            "interop/identity/test_openssl.py::test_every_profile_passes_openssls_strict_verification",
            "unit/identity/test_trust.py::test_revoked_is_out_as_soon_as_the_list_is_loaded",
            "unit/identity/test_trust.py::test_an_expired_authority_vouches_for_nobody",
        ),
    ),
    Row(
        "CR 1.9",
        "strength of public-key authentication: chain, revocation, possession",
        "shown",
        (
            "interop/test_tls.py::test_invariant_7_revocation_ends_live_connections_and_resumed_sessions",
            "interop/identity/test_openssl.py::test_a_revoked_client_gets_in_by_no_resumption",
            "unit/admin/test_statement.py::test_weak_and_odd_keys_prove_nothing",
        ),
    ),
    Row("CR 1.9 RE1", "private keys in hardware", "not met", (), "As CR 1.5 RE1."),
    Row(
        "CR 1.10",
        "authentication tells nothing to who failed",
        "shown",
        (
            "interop/identity/test_openssl.py::test_without_a_certificate_of_the_zone_there_is_a_fatal_alert",
            "interop/test_https.py::test_denied_withheld_and_unknown_tags_look_the_same_and_are_recorded",
        ),
    ),
    Row(
        "CR 1.11",
        "unsuccessful attempts are limited",
        "shown",
        (
            "faults/test_flood.py::test_one_silent_address_keeps_no_certified_client_out",
            "interop/test_tls.py::test_one_address_has_its_share_of_handshakes_under_way",
        ),
        "Nobody is locked out: with certificates there is nothing to guess, and a lock-out could be forced on"
        " others.",
    ),
    Row(
        "CR 1.12", "notice before use", "not met", (), "No text of the site's is shown to people who connect."
    ),
    Row(
        "NDR 1.13",
        "access from untrusted networks is monitored and controlled",
        "shown",
        (
            "interop/test_https.py::test_tls_below_1_2_and_another_zone_get_nothing",
            "policy/test_guardrails_stand.py::*",
        ),
    ),
    Row(
        "NDR 1.13 RE1",
        "such access is approved explicitly",
        "shown",
        (
            "interop/test_admin_api.py::test_a_person_grants_by_command_and_the_write_passes_once",
            "unit/admin/test_approvals.py::test_a_granted_request_is_claimed_by_the_same_write_and_used_once",
        ),
    ),
    Row("CR 1.14", "symmetric keys", "does not apply", (), "No symmetric key authenticates anybody."),
    Row(
        "CR 2.1 RE1, RE2",
        "everybody is authorised, by roles",
        "shown",
        (
            "scenarios/test_passage.py::test_one_denied_operation_refuses_the_frame",
            "policy/test_two_engines.py::test_decisions_and_explanations_are_equal",
            "interop/test_review_api.py::test_who_has_no_role_for_it_learns_nothing_and_is_recorded",
        ),
    ),
    Row(
        "CR 2.1 RE3",
        "a supervisor overrides for a time",
        "shown",
        ("interop/test_admin_api.py::test_breaking_the_glass_is_alarmed_shown_and_ended",),
    ),
    Row(
        "CR 2.1 RE4",
        "two people approve",
        "shown",
        (
            "unit/admin/test_approvals.py::test_two_people_count_as_two_and_one_person_as_one",
            "faults/test_approvals_killed.py::test_whenever_it_is_killed_no_approval_is_good_for_two_acts",
        ),
    ),
    Row(
        "SAR/NDR 2.4 RE1",
        "mobile code: only what is signed runs",
        "shown",
        (SIGNED, "faults/test_bundles_refused.py::test_a_folder_is_no_signed_bundle"),
        "Where `policy.signing` is configured; without it a bundle needs no signature.",
    ),
    Row(
        "CR 2.5",
        "sessions are locked",
        "does not apply",
        (),
        "There is no session of a person that stays open.",
    ),
    Row(
        "CR 2.6",
        "sessions end",
        "shown",
        (
            "interop/test_tls.py::test_an_idle_connection_is_closed_and_a_busy_one_is_not",
            "interop/test_tls.py::test_invariant_7_revocation_ends_live_connections_and_resumed_sessions",
        ),
    ),
    Row(
        "CR 2.7",
        "sessions at once are limited",
        "shown",
        ("interop/test_relay.py::test_requests_of_one_connection_have_a_bound_and_06_beyond_it",),
    ),
    Row(
        "CR 2.8",
        "events are recorded with time, source, kind, result",
        "in part",
        (
            "faults/test_durable_before_act.py::test_whenever_it_is_killed_every_write_that_the_plant_saw_has_its_intent",
            "interop/test_review_api.py::test_every_look_is_recorded_with_what_was_asked_and_what_was_shown",
            "interop/test_admin_api.py::test_an_act_that_takes_too_long_or_fails_has_an_outcome_that_says_so",
        ),
        "Backup and restore are no commands of the gateway, so they leave no record.",
    ),
    Row(
        "CR 2.9, RE1",
        "storage is enough, and a threshold warns",
        "in part",
        (
            "faults/test_journal_full.py::test_writes_stop_before_a_record_is_cut_short_and_go_on_when_there_is_room",
            "faults/test_flood.py::test_invariant_10_a_flood_fills_no_journal_and_stops_no_certified_client",
            "unit/audit/test_retention.py::test_a_running_gateway_tells_signs_and_lets_go",
        ),
        "How much is enough is the site's to reckon.",
    ),
    Row(
        "CR 2.10",
        "where records fail, the response is defined",
        "shown",
        (
            "faults/test_journal_killed.py::test_a_failed_fdatasync_stops_writes_for_good",
            "faults/test_journal_readonly.py::test_a_read_only_disk_stops_writes_bounds_reads_and_loses_nothing",
            "faults/test_journal_slow.py::test_a_disk_that_stops_answering_has_failed",
        ),
    ),
    Row(
        "CR 2.11",
        "records have times",
        "shown",
        (
            "unit/relay/test_clock.py::test_a_jump_is_not_believed_and_time_goes_on_by_the_monotonic_clock",
            "faults/test_moved_clock.py::test_a_boot_in_1970_locks_nobody_out_and_trusts_no_clock",
        ),
    ),
    Row("CR 2.11 RE1", "clocks are synchronised", "host", (), "NTP or PTP of the machine."),
    Row(
        "CR 2.11 RE2",
        "the source of time is protected",
        "host",
        (),
        "Authenticated time (NTS) on the machine. The gateway disbelieves a clock that jumps.",
    ),
    Row(
        "CR 2.12, RE1",
        "nobody can deny what they did",
        "shown",
        (
            "interop/test_review_api.py::test_a_proof_is_one_that_somebody_else_verifies",
            "interop/test_admin_api.py::test_openssl_alone_signs_what_curl_sends_and_checks_what_the_journal_keeps",
        ),
        "A write is bound to a certificate's connection; a person's approval carries their own signature.",
    ),
    Row(
        "CR 3.1 RE1",
        "communication is whole and authentic",
        "in part",
        (
            "interop/test_tls.py::test_versions_and_suites_as_openssl_sees_them",
            "conformance/test_suites.py::*",
        ),
        "Towards devices Modbus has no protection: a network of their own is the site's duty.",
    ),
    Row(
        "SAR/NDR 3.2",
        "protection from malicious code",
        "host",
        (),
        "A read-only system and allowed programs only. A bundle can run nothing but Rego.",
    ),
    Row(
        "CR 3.3",
        "security functions can be verified",
        "in part",
        (
            "unit/audit/test_proof.py::test_an_auditor_with_the_proof_the_key_and_the_verifier_confirms_a_record",
            "e2e/test_demo.py::test_every_step_of_the_tour_holds",
        ),
        "No canary denial is tried while it runs.",
    ),
    Row(
        "CR 3.4, RE1, RE2",
        "software and information are whole, authentic, and changes are told",
        "in part",
        (
            "faults/test_bundles_refused.py::test_it_is_refused_recorded_and_the_old_decides",
            MUTATED,
        ),
        "The installed program is not checked against a signature when it starts.",
    ),
    Row(
        "CR 3.5",
        "input is validated",
        "shown",
        (
            "faults/test_hidden_write.py::test_invariant_3_not_one_byte_that_hides_in_a_read_reaches_the_plc",
            "properties/test_differential.py::test_changed_bytes_break_no_promise",
            "fuzz/test_fuzz.py::test_new_inputs_break_no_promise",
        ),
    ),
    Row(
        "CR 3.6",
        "output is deterministic where something fails",
        "shown",
        (
            "faults/test_engine_failure.py::test_denied_end_to_end",
            "interop/test_relay.py::test_invariant_6_a_write_without_answer_is_0b_and_is_sent_once",
            "interop/test_broker.py::test_killed_gateway_says_offline_and_its_values_expire",
        ),
    ),
    Row(
        "CR 3.7",
        "errors tell an attacker nothing",
        "shown",
        (
            "unit/identity/test_contexts.py::test_no_message_shows_key_material",
            "interop/test_https.py::test_every_mistake_is_a_problem",
        ),
    ),
    Row(
        "CR 3.8",
        "sessions are whole",
        "shown",
        (
            "interop/identity/test_openssl.py::test_a_revoked_client_gets_in_by_no_resumption",
            "interop/test_relay.py::test_two_clients_with_equal_ids_never_see_each_others_values",
        ),
    ),
    Row(
        "CR 3.9",
        "records are protected",
        "shown",
        (
            MUTATED,
            "unit/audit/test_witness.py::test_yesterdays_copy_is_not_signed",
            "interop/test_review_api.py::test_nothing_can_be_done_here_but_looking",
        ),
    ),
    Row(
        "CR 3.9 RE1",
        "records on media that are written once",
        "host",
        (),
        "Checkpoints and records go to other machines; that one of them writes once is the site's.",
    ),
    Row("NDR 3.10 RE1", "updates are authentic", "not met", (), "Releases of the program are not signed."),
    Row("NDR 3.11", "tampering with the device is noticed", "host", (), "Hardware of the site."),
    Row("NDR 3.12, 3.13", "roots of trust", "host", (), "Hardware and firmware of the machine."),
    Row("NDR 3.14", "what boots is whole", "host", (), "Secure boot of the machine."),
    Row(
        "CR 4.1",
        "information is confidential",
        "in part",
        (
            "unit/config/test_read.py::test_a_key_that_others_can_use_is_refused",
            "interop/test_https.py::test_without_a_caller_there_is_401_for_every_route",
        ),
        "The journal is not encrypted on disk: an encrypted volume is the host's.",
    ),
    Row(
        "CR 4.2",
        "information can be purged",
        "in part",
        ("faults/test_dropped.py::test_a_running_gateway_forgets_on_order_and_every_proof_holds",),
        "Sensitive fields of records can be. No command wipes a gateway that is taken away.",
    ),
    Row(
        "CR 4.3",
        "cryptography is of accepted kinds",
        "in part",
        ("interop/identity/test_openssl.py::test_suites_and_versions",),
        "A validated module (FIPS 140) is not used.",
    ),
    Row(
        "CR 5.1",
        "networks can be segmented",
        "in part",
        ("interop/identity/test_pymodbus.py::test_and_the_other_zone_does_not",),
        "Each listener has an address of its own; two interfaces and the firewall between are the site's.",
    ),
    Row(
        "NDR 5.2 RE1",
        "all is denied but what is allowed",
        "shown",
        (
            "scenarios/test_passage.py::test_nothing_to_decide_is_not_permission",
            "policy/test_fail_open.py::*",
        ),
    ),
    Row("NDR 5.2 RE2", "island mode", "not met", (), "There is no one command that cuts IT off."),
    Row(
        "NDR 5.2 RE3",
        "fails closed",
        "shown",
        (
            "scenarios/test_passage.py::test_invariant_1_broken_journal_stops_writes_and_reads",
            "faults/test_engine_failure.py::test_denied_end_to_end",
        ),
    ),
    Row(
        "NDR 5.3",
        "no messages from person to person",
        "shown",
        ("interop/test_relay.py::test_illegal_requests_are_refused_and_the_connection_goes_on",),
        "Only operations of protocols that the gateway understands pass.",
    ),
    Row(
        "CR 6.1, RE1",
        "records can be read, also by programs",
        "shown",
        (
            "interop/test_review_api.py::test_who_wrote_what_is_found_in_pages_newest_first",
            "interop/test_review_api.py::test_what_is_shown_is_what_is_stored_to_the_byte",
        ),
    ),
    Row(
        "CR 6.2",
        "it is monitored all the time",
        "shown",
        (
            "interop/test_https.py::test_health_readiness_and_metrics_are_for_those_who_may",
            "interop/test_siem.py::test_the_receiver_has_the_log_record_for_record",
        ),
    ),
    Row(
        "SR 2.8 RE1",
        "records come together in one place",
        "shown",
        (
            "interop/test_siem.py::test_the_receiver_has_the_log_record_for_record",
            "faults/test_export_killed.py::test_the_gateway_is_killed_while_it_exports",
        ),
    ),
    Row(
        "CR 7.1 RE1",
        "a flood is borne, and not passed on",
        "shown",
        (
            "faults/test_plants.py::test_nobody_starves_nobody_is_misled_and_it_is_over_when_it_is_over",
            "interop/test_review_api.py::test_a_hostile_reviewer_is_told_429_and_the_plant_is_served",
        ),
    ),
    Row(
        "CR 7.2",
        "resources are limited",
        "in part",
        (
            "interop/test_relay.py::test_invariant_9_the_queue_has_a_bound_and_answers_06_beyond_it",
            "unit/review/test_desk.py::test_only_so_many_wait",
        ),
        "Limits of memory and files for the whole process are the host's (systemd).",
    ),
    Row(
        "CR 7.3, RE1",
        "backup, and that it is whole",
        "not met",
        (),
        "There is no backup command. A copy of the data folder verifies (`audit verify`), and an old one is"
        " not signed again (CR 3.9).",
    ),
    Row(
        "CR 7.4",
        "recovery to a known state",
        "shown",
        (
            "faults/test_durable_before_act.py::test_recovery_names_what_it_cut",
            "faults/test_activation_killed.py::test_whenever_it_is_killed_it_starts_with_a_bundle_that_held",
        ),
    ),
    Row(
        "CR 7.6",
        "settings as the manufacturer advises",
        "shown",
        (
            "e2e/test_deploy.py::test_the_configuration_is_right_as_it_stands",
            "unit/config/test_reference.py::test_the_page_has_every_key_as_it_is",
        ),
    ),
    Row(
        "CR 7.6 RE1",
        "present settings can be had by a program",
        "not met",
        (),
        "`status --json` tells state, not the settings in force.",
    ),
    Row(
        "CR 7.7",
        "least functionality",
        "shown",
        (
            "e2e/test_demo.py::test_every_process_listens_only_where_the_demo_says",
            "interop/test_review_api.py::test_nothing_can_be_done_here_but_looking",
        ),
    ),
    Row(
        "CR 7.8",
        "inventory of components",
        "not met",
        (),
        "No SBOM is published; the lock file names all parts.",
    ),
)

ABOUT = """\
# IEC 62443-4-2: evidence

Generated by `python -m tests.conformance.iec62443`; not to be edited.

**Self-assessed.** Nobody has certified this, and it is no claim of a security level. Requirements are
paraphrased from secondary sources (Table B.1 extracts, SSA-311 outlines), not from the standard's text: hold
them against the standard before you rely on one. The product is taken as a software application (SAR) and a
network device (NDR); wireless, embedded and host requirements are left out.

A test stands as `file::function` below `tests/`; `*` is every test of that file. A test in the suite asserts
that each of them exists and that this page is in step; that they hold is what `make test` says."""


def page() -> str:
    """The document."""
    counts = Counter(row.verdict for row in TABLE)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    meaning = "\n".join(f"- **{verdict}**: {words}" for verdict, words in VERDICTS.items())
    lines = ["| id | requirement | verdict | evidence | note |", "|---|---|---|---|---|"]
    for row in TABLE:
        evidence = "<br>".join(f"`{test}`" for test in row.tests)
        lines.append(f"| {row.id} | {row.words} | **{row.verdict}** | {evidence} | {row.note} |")
    return "\n\n".join([ABOUT, meaning, f"{len(TABLE)} rows: {summary}.", "\n".join(lines)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
