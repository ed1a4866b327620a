"""Floor 1: policy. What is asked, what may be loaded, who answers, and which answers are shared.

question    (caller, operation, facts) -> dmz.input/1
bundle      a folder or archive of Rego and data -> Bundle
archive     .tar.gz <-> members; signature, release, serials: whose, until when, and none older
source      where bundles come from; service: over HTTPS
loader      Bundle -> Policy, if nothing in it can make an engine fail open
engine      Policy + question -> decision, or a denial
cache       decisions shared by questions that policy cannot tell apart
decider     all of it behind `guard.ports.Engine`
server      one question to an OPA server; `remote` judges the answer, `breaker` says whether it is there
opa_decider the same as decider where OPA decides; `crosscheck` holds some answers against the engine here
testing     a bundle's own tests
"""
