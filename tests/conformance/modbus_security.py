"""Which requirements there are, what the gateway does about each, and the test that shows it: the one table.

`page.py` beside it runs the tests and writes docs/conformance/modbus-security.md from here.
"""

from typing import Literal

from msgspec import Struct

Level = Literal["MUST", "SHOULD", "MAY"]
Verdict = Literal["pass", "fail", "deviation"]


class Suite(Struct, frozen=True):
    """A cipher suite as IANA lists it."""

    name: str
    key: Literal["ECDSA", "RSA", "either"]
    "The server key that it is for."
    encryption: str
    mac: str
    "AEAD where the encryption protects integrity itself."
    prf: str
    "The hash that makes the key block, and of the Finished messages."


SUITES: dict[int, Suite] = {
    0x1301: Suite("TLS_AES_128_GCM_SHA256", "either", "AES_128_GCM", "AEAD", "SHA256"),
    0x1302: Suite("TLS_AES_256_GCM_SHA384", "either", "AES_256_GCM", "AEAD", "SHA384"),
    0x1303: Suite("TLS_CHACHA20_POLY1305_SHA256", "either", "CHACHA20", "AEAD", "SHA256"),
    0xC02B: Suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDSA", "AES_128_GCM", "AEAD", "SHA256"),
    0xC02C: Suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDSA", "AES_256_GCM", "AEAD", "SHA384"),
    0xC02F: Suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "RSA", "AES_128_GCM", "AEAD", "SHA256"),
    0xC030: Suite("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "RSA", "AES_256_GCM", "AEAD", "SHA384"),
    0xCCA8: Suite(
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "RSA", "CHACHA20_POLY1305", "AEAD", "SHA256"
    ),
    0xCCA9: Suite(
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDSA", "CHACHA20_POLY1305", "AEAD", "SHA256"
    ),
}
"Every suite that the gateway negotiates, by its number in IANA's registry; a scan holds this."


class Requirement(Struct, frozen=True, kw_only=True):
    """One row."""

    id: str
    words: str
    "What is asked for, in our words."
    level: Level
    verdict: Verdict
    "What the test shows when it holds: `pass`, or `deviation` from a requirement that is not met as written."
    test: str
    "The test function, as `file.function`."
    reason: str = ""
    "Why we deviate; where there is a choice of reading, the reading that a `pass` is of."


def _row(id_: str, level: Level, verdict: Verdict, test: str, words: str, reason: str = "") -> Requirement:
    return Requirement(id=id_, words=words, level=level, verdict=verdict, test=test, reason=reason)


CLIENT = "A client's duty; the gateway is a server. Shown on the TLS client that the product does have."
AEAD = (
    "Suites here protect integrity by AEAD; the hash is that of the PRF (1.2) or HKDF (1.3), and of Finished."
)
NO_NULL = (
    "Suites without encryption are off, and there is no switch: an integrity-only session shows every"
    " set point and every role to whoever listens, and one wrong configuration would open it for all clients."
)

TABLE: tuple[Requirement, ...] = (
    # §6 Protocol overview
    _row("R-01", "MUST", "pass", "test_handshake.test_r_01_tls_1_2_or_newer_carries_modbus",
         "TLS 1.2 or newer is the transport."),
    _row("R-02", "MUST", "pass", "test_handshake.test_r_02_both_sides_are_authenticated",
         "Client and server authenticate each other by the TLS handshake.",
         "A site can add a listener without TLS (`tls: none`) for old clients: it is no mbaps listener,"
         " identifies nobody, gets nothing but what policy grants it by name, and `check` warns of it."),
    _row("R-03", "MUST", "pass",
         "test_certificates.test_r_03_only_a_certificate_that_rfc_5280_accepts_gets_in",
         "Credentials are X.509v3 certificates as RFC 5280 has them."),
    _row("R-04", "MUST", "pass", "test_roles.test_r_04_authorization_uses_the_role_of_the_certificate",
         "Where authorization is enforced, it uses the role in the certificate's extension."),
    _row("R-05", "MUST", "pass", "test_handshake.test_r_05_mbap_is_unchanged_inside_tls",
         "The mbap protocol is not changed by being carried in TLS."),
    # §8.2 TLS handshake
    _row("R-06", "MUST", "pass", "test_handshake.test_r_06_no_session_without_mutual_authentication",
         "Devices authenticate each other when they create the TLS session."),
    _row("R-07", "MUST", "pass", "test_handshake.test_r_07_the_server_sends_certificate_request",
         "The server sends CertificateRequest."),
    _row("R-08", "MUST", "pass", "test_handshake.test_r_08_a_client_that_is_asked_sends_its_certificate",
         "A client that is asked for its certificate sends it.", CLIENT),
    _row("R-10", "MUST", "pass", "test_handshake.test_r_10_without_certificate_a_fatal_alert_and_the_end",
         "No client certificate: the server sends a fatal alert and ends the connection."),
    _row("R-11", "MUST", "pass", "test_handshake.test_r_11_nothing_is_resumed_after_a_fatal_alert",
         "What ended in a fatal alert is not resumed."),
    # §8.3 Cipher suite selection
    _row("R-12", "MUST", "pass", "test_suites.test_r_12_every_suite_is_registered_with_iana",
         "Suites are registered with IANA."),
    _row("R-13", "MUST", "pass", "test_suites.test_r_13_every_suite_authenticates_by_certificate",
         "Suites can use X.509v3 certificates."),
    _row("R-14", "MUST", "pass", "test_suites.test_r_14_ecdhe_rsa_with_aes_128_gcm_sha256",
         "With an RSA key at least TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 is provided."),
    _row("R-66", "SHOULD", "pass", "test_suites.test_r_66_the_own_client_offers_no_null_suite",
         "A client with suites with and without encryption puts those without last.",
         f"{CLIENT} It offers none without encryption, so none stands before another."),
    _row("R-67", "SHOULD", "deviation", "test_suites.test_r_67_rsa_with_null_sha256_cannot_be_enabled",
         "A server can be set to allow TLS_RSA_WITH_NULL_SHA256.",
         f"{NO_NULL} This suite has no forward secrecy either."),
    # §8.4 Role-based client authorization
    _row("R-16", "SHOULD", "pass", "test_roles.test_r_16_role_based_authorization_is_provided",
         "A server provides role-based authorization of clients."),
    _row("R-17", "MUST", "pass", "test_roles.test_r_17_each_element_of_authorization_counts",
         "If it does, it keeps to all requirements of the section."),
    _row("R-18", "MUST", "pass", "test_roles.test_r_18_extension_algorithm_and_database_are_there",
         "Role extension, authorization algorithm and roles-to-rights database exist."),
    _row("R-19", "MUST", "pass", "test_roles.test_r_19_a_client_is_provisioned_with_its_certificate",
         "A client is provisioned with its certificate.",
         "The client's duty; shown with `dmz-gateway pki issue`."),
    _row("R-20", "SHOULD", "pass", "test_roles.test_r_20_issued_certificates_include_the_role",
         "A client's certificate includes the role extension.",
         "The client's duty; shown with `dmz-gateway pki issue --role`."),
    _row("R-21", "MUST", "pass", "test_roles.test_r_21_only_the_oid_of_modbus_org_is_a_role",
         "The role stands under the OID 1.3.6.1.4.1.50316.802.1."),
    _row("R-22", "MUST", "pass", "test_roles.test_r_22_the_role_is_a_utf8string",
         "The role is encoded as an ASN.1 UTF8String."),
    _row("R-65", "MUST", "pass", "test_roles.test_r_65_one_whole_string_is_one_role",
         "One role in a certificate; the whole string is that role.",
         "Anything else is answered like no role at all: the session stays, every request gets 01."),
    _row("R-23", "MUST", "pass", "test_roles.test_r_23_no_role_is_the_null_role",
         "Without a role the authorization algorithm gets a NULL role.",
         "The algorithm's answer to the NULL role is no, for every request, and no rule of a site can change"
         " it. It is given before policy is evaluated, and by policy too."),
    _row("R-24", "MUST", "pass", "test_roles.test_r_24_the_algorithm_is_provided",
         "The vendor defines and provides the algorithm.",
         "policies/core, in Rego; docs/reference/input.md and decision.md define question and answer."),
    _row("R-25", "MUST", "pass", "test_roles.test_r_25_the_design_of_the_database_is_defined",
         "The vendor defines syntax and semantics of the database.",
         "policies/schemas/data.json and policies/README.md."),
    _row("R-26", "MUST", "pass", "test_roles.test_r_26_the_database_is_provisioned_by_the_end_user",
         "The database is configured to that design and provisioned by the end user."),
    _row("R-27", "MUST", "pass", "test_roles.test_r_27_rights_are_configurable",
         "The end user can configure the database."),
    _row("R-28", "MUST", "pass", "test_roles.test_r_28_no_shipped_role_is_unchangeable",
         "No default role is hard-coded and unchangeable."),
    _row("R-29", "MUST", "pass", "test_roles.test_r_29_role_values_are_consistent",
         "Role values in certificates are consistent with the database's design.",
         "A role is 1 to 64 of letters, digits, space, `_`, `.` and `-`: narrower than UTF8String, so that"
         " two roles that look alike are alike. `pki issue` makes no other, and no other counts."),
    _row("R-30", "MUST", "pass", "test_roles.test_r_30_the_server_extracts_the_role",
         "The server extracts the role from the client's certificate."),
    _row("R-31", "MUST", "pass", "test_roles.test_r_31_rejected_is_exception_01_and_no_more",
         "A request that authorization rejects is answered with exception 01.",
         "As shipped. A site may choose 02 or silence for one listener (`refusal`), for clients that stop for"
         " good at 01; that listener deviates, and `check` says so."),
    # §10.1 TLS version
    _row("R-32", "MUST", "pass", "test_handshake.test_r_32_tls_1_2_and_1_3_are_provided",
         "TLS 1.2 or better is provided."),
    _row("R-33", "MUST", "pass", "test_handshake.test_r_33_handshakes_and_alerts_follow_rfc_5246",
         "Devices conform to RFC 5246.",
         "The parts that this specification leans on, by sample; TLS itself is OpenSSL's."),
    _row("R-34", "MUST", "pass", "test_handshake.test_r_34_no_downgrade",
         "TLS 1.1, TLS 1.0 and SSL 3.0 are not negotiated."),
    _row("R-35", "MUST", "pass", "test_handshake.test_r_35_no_ssl_2",
         "SSL 2.0 and SSL 1.0 are not negotiated."),
    # §10.2 TLS 1.2 cryptography
    _row("R-36", "SHOULD", "pass", "test_suites.test_r_36_counter_mode_suites",
         "A counter mode suite is provided."),
    _row("R-37", "MUST", "pass", "test_suites.test_r_37_never_null_with_null_null",
         "TLS_NULL_WITH_NULL_NULL is not negotiated."),
    _row("R-38", "MUST", "pass", "test_suites.test_r_38_nothing_else_is_negotiated",
         "What is negotiated is listed in IANA's registry."),
    _row("R-39", "MUST", "deviation",
         "test_suites.test_r_39_rsa_signs_the_key_exchange_and_never_carries_the_key",
         "Key exchange based on RSA is provided, as the mandatory suite specifies.",
         "Read by the mandatory suite (R-14), it is met: RSA signs an ephemeral exchange. Read as RSA key"
         " transport (RFC 5246 §7.4.7.1), it is not: that has no forward secrecy, so one stolen key would"
         " open every recorded session, and it is open to padding oracles. RFC 9325 §4.1 advises"
         " against it."),
    _row("R-40", "SHOULD", "pass", "test_suites.test_r_40_key_exchange_on_elliptic_curves",
         "Key exchange based on elliptic curves is provided."),
    _row("R-61", "MUST", "pass", "test_suites.test_r_61_p_256",
         "With elliptic curves at least P-256 is supported."),
    _row("R-62", "MUST", "pass", "test_suites.test_r_62_ecdhe_ecdsa_with_aes_128_gcm_sha256",
         "With elliptic curves at least TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 is supported."),
    _row("R-63", "MUST", "pass", "test_suites.test_r_63_curves_are_said_and_heeded",
         "A ClientHello names the curves (RFC 4492).", f"{CLIENT} The server heeds what it is told."),
    _row("R-64", "MUST", "pass", "test_suites.test_r_64_point_formats_are_said_and_answered",
         "A ClientHello names the point formats (RFC 4492).", f"{CLIENT} The server answers with its own."),
    _row("R-41", "MUST", "pass", "test_handshake.test_r_41_the_mutual_handshake_is_supported",
         "The handshake with mutual authentication is supported."),
    _row("R-42", "SHOULD", "deviation",
         "test_handshake.test_r_42_tls_1_2_resumes_by_session_id_and_1_3_never",
         "The resumed handshake is supported by client and server.",
         "TLS 1.2 resumes by session id, until the next change of trust; the role stays bound, and the"
         " certificate is judged again at every resumption. TLS 1.3 resumes by tickets only, and there are"
         " none: a resumed session skips OpenSSL's verification, the fault behind CVE-2025-23419 and others,"
         " so only one look at the certificate would stand between a revoked client and the plant. A full"
         " handshake costs milliseconds, and plant sessions are long."),
    _row("R-43", "MAY", "deviation", "test_handshake.test_r_43_no_session_tickets",
         "Resumption by session tickets may be supported.",
         "The liberty is not taken: a ticket outlives the revocation of the certificate that it stands for."),
    _row("R-44", "MUST", "pass",
         "test_handshake.test_r_44_a_handshake_without_client_certificate_is_rejected",
         "A handshake is rejected if the client does not answer the request for its certificate."),
    _row("R-45", "SHOULD", "pass",
         "test_certificates.test_r_45_the_gateways_certificate_is_signed_by_an_authority",
         "Certificates are signed by an authority."),
    _row("R-46", "MUST", "pass", "test_certificates.test_r_46_the_chain_is_sent_down_to_the_root",
         "The whole chain is sent, down to the root."),
    _row("R-47", "MUST", "pass", "test_certificates.test_r_47_the_certificates_we_show_are_of_rfc_5280",
         "Certificates that are shown conform to RFC 5280."),
    _row("R-48", "MUST", "pass", "test_suites.test_r_48_every_suite_encrypts",
         "Where encryption is required, a suite that encrypts is chosen.",
         "Every suite encrypts, so none other can be chosen."),
    _row("R-49", "MUST", "deviation", "test_suites.test_r_49_no_suite_without_encryption",
         "Where encryption is not required, a suite without it is chosen.",
         f"{NO_NULL} The gateway takes encryption to be required everywhere, which is R-48."),
    _row("R-50", "MUST", "pass", "test_suites.test_r_50_no_hmac_md5", "HMAC-MD5 is not used."),
    _row("R-51", "MUST", "pass", "test_suites.test_r_51_no_hmac_sha_1", "HMAC-SHA-1 is not used."),
    _row("R-52", "MUST", "pass", "test_suites.test_r_52_sha_256", "HMAC-SHA-256 is provided.", AEAD),
    _row("R-53", "MUST", "pass", "test_suites.test_r_53_no_suite_without_integrity",
         "A NULL HMAC is not used.", AEAD),
    _row("R-54", "MUST", "pass", "test_suites.test_r_54_no_sha_1_in_the_prf",
         "SHA-1 is not provided for the PRF that makes the key block."),
    _row("R-55", "MUST", "pass", "test_suites.test_r_55_sha_256_in_the_prf",
         "HMAC-SHA-256 is provided for the PRF that makes the key block."),
    _row("R-56", "MUST", "deviation", "test_suites.test_r_56_all_cryptography_is_that_of_named_libraries",
         "It is determined early that import and export rules for cryptography are kept.",
         "A legal question for whoever ships or imports a copy; the project has not determined it. What there"
         " is to declare: OpenSSL by way of Python's `ssl` and of `cryptography`, and no cipher of our own."),
    # §10.3 to §10.5, and IANA
    _row("R-57", "MUST", "pass", "test_handshake.test_r_57_maximum_fragment_length_is_negotiated",
         "The extension Maximum Fragment Length (RFC 6066) is provided.",
         "As a server; Python's TLS gives a client no way to ask for it."),
    _row("R-58", "MUST", "pass", "test_handshake.test_r_58_fragments_of_512_bytes",
         "A maximum fragment length of 512 bytes can be negotiated.", "As a server, like R-57."),
    _row("R-59", "MUST", "pass", "test_handshake.test_r_59_compression_is_null",
         "The compression method of a ClientHello is NULL.",
         f"{CLIENT} The server chooses NULL out of any offer, and refuses one without it."),
    _row("R-60", "MUST", "pass", "test_handshake.test_r_60_renegotiation_is_indicated",
         "The Renegotiation Indication extension (RFC 5746) is provided.",
         "It is provided; renegotiation itself is refused, as TLS 1.3 has none."),
    _row("IANA", "MUST", "pass", "test_handshake.test_iana_port_802_is_the_default",
         "Modbus/TCP Security is found at TCP port 802.",
         "The default of a listener; a site may choose another."),
)  # fmt: skip
"Modbus/TCP Security v36 (2021-07-30), in its order. There is no R-09 and no R-15."

PROFILE: tuple[Requirement, ...] = (
    _row("S-01", "MUST", "pass",
         "test_profile.test_s_01_without_one_good_role_every_request_is_01_and_the_session_stays",
         "The role is mandatory: without one, or with two, an empty or a malformed one, the session stays and"
         " every request is answered 01."),
    _row("S-02", "MUST", "pass", "test_profile.test_s_02_a_denial_says_no_more_and_writes_nothing_in_part",
         "A denial carries nothing but 01, and nothing of the request is carried out."),
    _row("S-03", "MUST", "pass", "test_profile.test_s_03_the_servers_certificate_carries_no_role",
         "The server's certificate carries no role."),
    _row("S-04", "MUST", "pass", "test_profile.test_s_04_the_servers_key_is_on_p_256", "Keys are on P-256."),
    _row("S-05", "MUST", "pass", "test_profile.test_s_05_aes_128_gcm_in_both_versions",
         "ECDSA with AES-128-GCM, in TLS 1.2 and 1.3."),
    _row("S-06", "MUST", "pass", "test_profile.test_s_06_chacha20_poly1305_in_both_versions",
         "ECDSA with ChaCha20-Poly1305, in TLS 1.2 and 1.3."),
    _row("S-07", "MUST", "deviation", "test_profile.test_s_07_no_ccm",
         "ECDSA with AES-128-CCM and AES-128-CCM-8, in TLS 1.2 and 1.3.",
         "Off. In TLS 1.3 OpenSSL leaves CCM out unless it is asked for, and Python has no way to ask. CCM-8"
         " has an integrity tag of 8 bytes. Every client of the profile has AES-128-GCM as well."),
    _row("S-08", "MUST", "pass", "test_profile.test_s_08_ten_and_more_trust_anchors",
         "At least ten trust anchors."),
    _row("S-09", "MUST", "pass", "test_profile.test_s_09_the_four_roles_can_be_provisioned",
         "The roles ReadOnly, GridService, NetworkAdministrator and SuperAdministrator (each with `SunSpec`"
         " at its end).", "Roles are the end user's data (R-28), so they are provisioned, not shipped."),
)  # fmt: skip
"Secure SunSpec Modbus 1.0 (2025-12-10), where the same tests show it. The ids are ours."
