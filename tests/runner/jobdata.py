"""What the runner knows of the job: variables and JOB_RESPONSE_FILE.

The order of variables is that of the runner (common/build.go
GetAllVariables): feature flags, the runner's defaults, those from GitLab (the
predefined ones first, so that the user's win), more of the runner's. Values
are byte strings.
"""

import json
import math
import os
import re

FLAGS = """FF_CMD_DISABLE_DELAYED_ERROR_LEVEL_EXPANSION=false
FF_NETWORK_PER_BUILD=false FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY=false
FF_USE_DIRECT_DOWNLOAD=true FF_SKIP_NOOP_BUILD_STAGES=true
FF_USE_FASTZIP=false FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR=false
FF_ENABLE_BASH_EXIT_CODE_CHECK=false FF_USE_WINDOWS_LEGACY_PROCESS_STRATEGY=false
FF_USE_NEW_BASH_EVAL_STRATEGY=false FF_USE_POWERSHELL_PATH_RESOLVER=false
FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL=false FF_SCRIPT_SECTIONS=false
FF_ENABLE_JOB_CLEANUP=false FF_KUBERNETES_HONOR_ENTRYPOINT=false
FF_POSIXLY_CORRECT_ESCAPES=false FF_RESOLVE_FULL_TLS_CHAIN=false
FF_DISABLE_POWERSHELL_STDIN=false FF_USE_POD_ACTIVE_DEADLINE_SECONDS=true
FF_USE_IMPROVED_URL_MASKING=false FF_DISABLE_AUTOMATIC_TOKEN_ROTATION=false
FF_TIMESTAMPS=true FF_USE_GIT_BUNDLE_URIS=true
FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY=true""".split()

PREDEFINED = """CI=true
GITLAB_CI=true
CI_PIPELINE_ID={pipeline}
CI_PIPELINE_URL={url}/-/pipelines/{pipeline}
CI_JOB_ID={job}
CI_JOB_URL={url}/-/jobs/{job}
CI_JOB_TOKEN={token}
CI_JOB_STARTED_AT=2026-11-23T12:00:00Z
CI_REGISTRY_USER=gitlab-ci-token
CI_REGISTRY_PASSWORD={token}
CI_REPOSITORY_URL={repo_with_token}
CI_DEPENDENCY_PROXY_USER=gitlab-ci-token
CI_DEPENDENCY_PROXY_PASSWORD={token}
CI_JOB_NAME=build
CI_JOB_NAME_SLUG=build
CI_JOB_STAGE=test
CI_NODE_TOTAL=1
CI_BUILD_ID={job}
CI_SERVER_URL={server}
CI_SERVER_HOST={host}
CI_SERVER_PORT=443
CI_SERVER_PROTOCOL=https
CI_SERVER_FQDN={host}
CI_SERVER_NAME=GitLab
CI_SERVER_VERSION=19.4.0-ee
CI_SERVER_VERSION_MAJOR=19
CI_SERVER_VERSION_MINOR=4
CI_SERVER_VERSION_PATCH=0
CI_SERVER_REVISION=7d49bf21bd6
GITLAB_FEATURES=audit_events,burndown_charts,code_owners,contribution_analytics,description_diffs,elastic_search,group_bulk_edit,issuable_default_templates,issue_weights,iterations,merge_request_approvers,milestone_charts,multiple_issue_assignees,protected_refs_for_users,push_rules,resource_access_token,seat_link,usage_quotas,visual_review_app,wip_limits,zoekt_code_search
CI_PROJECT_ID={project}
CI_PROJECT_NAME={name}
CI_PROJECT_TITLE={name}
CI_PROJECT_DESCRIPTION=A project with a "quoted" word, an apostrophe's mark and $no expansion
CI_PROJECT_PATH={path}
CI_PROJECT_PATH_SLUG={slug}
CI_PROJECT_NAMESPACE={namespace}
CI_PROJECT_NAMESPACE_ID=9
CI_PROJECT_ROOT_NAMESPACE={namespace}
CI_PROJECT_URL={url}
CI_PROJECT_VISIBILITY=private
CI_PROJECT_REPOSITORY_LANGUAGES=c,shell,python
CI_PROJECT_CLASSIFICATION_LABEL=
CI_DEFAULT_BRANCH=main
CI_CONFIG_PATH=.gitlab-ci.yml
CI_PAGES_DOMAIN=pages.{host}
CI_PAGES_URL=https://{namespace}.pages.{host}/{name}
CI_DEPENDENCY_PROXY_SERVER={host}:443
CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX={host}:443/{namespace}/dependency_proxy/containers
CI_API_V4_URL={server}/api/v4
CI_API_GRAPHQL_URL={server}/api/graphql
CI_TEMPLATE_REGISTRY_HOST=registry.gitlab.com
CI_REGISTRY=registry.{host}
CI_REGISTRY_IMAGE=registry.{host}/{path}
CI_PIPELINE_IID=17
CI_PIPELINE_SOURCE=push
CI_PIPELINE_CREATED_AT=2026-11-23T11:59:58Z
CI_PIPELINE_NAME=
CI_COMMIT_SHA={sha}
CI_COMMIT_SHORT_SHA={short}
CI_COMMIT_BEFORE_SHA=0000000000000000000000000000000000000000
CI_COMMIT_REF_NAME={ref}
CI_COMMIT_REF_SLUG={refslug}
CI_COMMIT_BRANCH={ref}
CI_COMMIT_MESSAGE=Relay output in order\\n\\nTwo paragraphs, as commit messages have them.\\n
CI_COMMIT_TITLE=Relay output in order
CI_COMMIT_DESCRIPTION=Two paragraphs, as commit messages have them.\\n
CI_COMMIT_REF_PROTECTED={protected}
CI_COMMIT_TIMESTAMP=2026-11-23T11:59:50+00:00
CI_COMMIT_AUTHOR=Ada Ünsal <ada@example.org>
CI_RUNNER_ID={runner}
CI_RUNNER_DESCRIPTION=tests/runner
CI_RUNNER_TAGS=["openstack", "test"]
GITLAB_USER_ID=3
GITLAB_USER_LOGIN=ada
GITLAB_USER_NAME=Ada Ünsal
GITLAB_USER_EMAIL=ada@example.org""".split("\n")


class Variable:
    """One job variable."""

    def __init__(self, key, value, file=False, masked=False, raw=False,
                 public=False):
        self.key, self.value = key, value
        self.file, self.masked, self.raw = file, masked, raw
        self.public = public

    @classmethod
    def parse(cls, text, **flags):
        """From NAME=VALUE as given on a command line."""
        key, equals, value = os.fsencode(text).partition(b"=")
        if not equals or not key:
            raise ValueError(f"{text!r} is not NAME=VALUE")
        return cls(key, value, **flags)

    def json(self):
        """As GitLab sends it and the runner stores it."""
        return {"key": self.key.decode("utf-8", "replace"),
                "value": self.value.decode("utf-8", "replace"),
                "public": self.public, "file": self.file,
                "masked": self.masked, "raw": self.raw}


def go_json(value):
    """As Go's json.Marshal writes it (<, > and & escaped)."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "replace")


class JobData:
    """The job as GitLab sent it, plus what the runner adds while it runs."""

    encode = staticmethod(os.fsencode)

    def __init__(self):
        self.job_id, self.project_id, self.runner_id, self.slot = 4711, 42, 7, 0
        self.instance_uuid = "0b6a9a44-3c3f-4ad5-9a35-6f3f4f4b9b5e"
        self.repo_url = "https://gitlab.example.org/group/project.git"
        self.project_path = "group/project"
        self.ref = "main"
        self.protected = "no"
        self.timeout = 3600
        self.token = "glcbt-64_Zk3v9qXw7TtLr2sYb8Nd"
        self.short_token = "t1_aBcDeF"
        self.image = ""
        self.services = []
        self.script, self.after_script = [], []
        self.user = []
        self.status = "running"
        self.hostname = b""
        self._builds = self._cache = self._project = b""

    def set_dirs(self, builds, cache, shared):
        """The two directories are known: the project's follows."""
        self._builds, self._cache = self.encode(builds), self.encode(cache)
        parts = [self._builds.rstrip(b"/")]
        if shared:
            parts += [self.encode(self.short_token), b"%d" % self.slot]
        self._project = b"/".join(parts + [self.encode(self.project_path)])

    def whole_timeout(self):
        """GitLab sends whole seconds; tests may have less than one."""
        return math.ceil(self.timeout)

    def project_dir(self):
        """CI_PROJECT_DIR, empty until config has answered."""
        return self._project

    def tmp_dir(self):
        """Where file variables are written in the machine."""
        return self._project + b".tmp"

    def file_path(self, variable):
        """The path of a file variable in the machine."""
        return self.tmp_dir() + b"/" + variable.key

    def _predefined(self):
        """What GitLab always sends."""
        server, _, rest = self.repo_url.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2] or "localhost"
        namespace, _, name = self.project_path.rpartition("/")
        base = f"{server or 'https'}://{host}"
        words = {
            "job": self.job_id, "project": self.project_id,
            "runner": self.runner_id, "pipeline": self.job_id // 3 + 1000,
            "token": self.token, "server": base, "host": host,
            "url": f"{base}/{self.project_path}", "path": self.project_path,
            "namespace": namespace, "name": name, "ref": self.ref,
            "slug": re.sub("[^a-z0-9]", "-", self.project_path.lower()),
            "refslug": re.sub("[^a-z0-9]", "-", self.ref.lower())[:63],
            "sha": "d79f3e7b89abceace75e2425bfe92b84ea059933",
            "short": "d79f3e7b",
            "protected": "true" if self.protected == "yes" else "false",
            "repo_with_token": f"https://gitlab-ci-token:{self.token}@{rest}",
        }
        secret = ("CI_JOB_TOKEN", "CI_REGISTRY_PASSWORD", "CI_REPOSITORY_URL",
                  "CI_DEPENDENCY_PROXY_PASSWORD")
        result = []
        for line in PREDEFINED:
            key, _, value = line.partition("=")
            value = value.replace("\\n", "\n")
            value = re.sub(r"\{(\w+)\}", lambda m: str(words[m[1]]), value)
            result.append(Variable(
                key.encode(), self.encode(value), masked=key in secret
                and key != "CI_REPOSITORY_URL",
                raw=True, public=key not in secret))
        return result

    def _runner_first(self):
        """Feature flags and the runner's defaults."""
        pairs = [flag.partition("=")[::2] for flag in FLAGS] + [
            ("CI_BUILDS_DIR", self._builds),
            ("CI_PROJECT_DIR", self._project),
            ("CI_CONCURRENT_ID", str(self.slot)),
            ("CI_CONCURRENT_PROJECT_ID", "0"), ("CI_SERVER", "yes"),
            ("CI_JOB_STATUS", self.status),
            ("CI_JOB_TIMEOUT", str(self.whole_timeout()))]
        return [Variable(k.encode(), self.encode(v), raw=True, public=True)
                for k, v in pairs]

    def _runner_last(self):
        """What the runner adds after GitLab's."""
        pairs = [("CI_RUNNER_SHORT_TOKEN", self.short_token),
                 ("CI_RUNNER_VERSION", "19.4.0"),
                 ("CI_RUNNER_REVISION", "d79f3e7b"),
                 ("CI_RUNNER_EXECUTABLE_ARCH", "linux/amd64")]
        if self.image:
            pairs.append(("CI_JOB_IMAGE", self.expanded_image()))
        return [Variable(k.encode(), self.encode(v), raw=True, public=True)
                for k, v in pairs]

    def variables(self):
        """All, expanded, doubles dropped (the last one of a name stays)."""
        unique = {}
        for variable in (self._runner_first() + self._predefined() + self.user
                         + self._runner_last()):
            unique.pop(variable.key, None)
            unique[variable.key] = variable
        values = {key: self.file_path(v) if v.file else v.value
                  for key, v in unique.items()}
        return [v if v.raw or v.file else
                Variable(v.key, _expand(v.value, values), v.file, v.masked,
                         v.raw, v.public)
                for v in unique.values()]

    def get(self, key):
        """The value of variable KEY (bytes), b"" when there is none."""
        return next((v.value for v in self.variables() if v.key == key), b"")

    def _expand_text(self, text):
        values = {v.key: v.value
                  for v in self._runner_first() + self._predefined()
                  + self.user}
        return os.fsdecode(_expand(self.encode(text), values))

    def expanded_image(self):
        """The image's name; only names are expanded in the response."""
        return self._expand_text(self.image)

    def environment(self):
        """(name, value) pairs: CUSTOM_ENV_* of everything."""
        return [(b"CUSTOM_ENV_" + v.key, v.value) for v in self.variables()
                ] + [(b"CUSTOM_ENV_CI_JOB_SERVICES", self._services_value())]

    def _services_value(self):
        """CI_JOB_SERVICES: "" without services, else a JSON array."""
        if not self.services:
            return b""
        result = []
        for service in self.services:
            alias = re.split("[ ,]+", service.get("alias") or "")[0]
            entry = {"name": self._expand_text(service.get("name", "")),
                     "alias": alias,
                     "entrypoint": service.get("entrypoint"),
                     "command": service.get("command")}
            if service.get("variables"):
                entry["variables"] = service["variables"]
            result.append(entry)
        return go_json(result)

    def secrets(self):
        """Values masked in the job log."""
        return [v.value for v in self._predefined() + self.user
                if v.masked and v.value]

    def response(self):
        """JOB_RESPONSE_FILE's content."""
        steps = [("script", self.script)] + (
            [("after_script", self.after_script)] if self.after_script else [])
        git = {"repo_url": self.repo_url, "repo_object_format": "sha1",
               "ref": self.ref,
               "sha": "d79f3e7b89abceace75e2425bfe92b84ea059933",
               "before_sha": "0" * 40, "ref_type": "branch",
               "refspecs": [f"+refs/heads/{self.ref}:refs/remotes/origin/"
                            f"{self.ref}"],
               "depth": 20,
               "protected": {"yes": True, "no": False}.get(self.protected)}
        if self.protected == "absent":
            del git["protected"]
        return go_json({
            "id": self.job_id, "token": self.token, "allow_git_fetch": True,
            "job_info": {
                "name": "build", "stage": "test",
                "project_id": self.project_id,
                "project_name": self.project_path.rpartition("/")[2],
                "project_full_path": self.project_path, "namespace_id": 9,
                "root_namespace_id": 9, "organization_id": 1,
                "instance_id": "", "instance_uuid": self.instance_uuid,
                "user_id": 3, "time_in_queue_seconds": 1.5,
                "project_jobs_running_on_instance_runners_count": "0",
                "queue_size": 0, "queue_depth": 0},
            "git_info": git, "runner_info": {"timeout": self.whole_timeout()},
            "inputs": {},
            "variables": [v.json() for v in self._predefined() + self.user],
            "steps": [{"name": name,
                       "script": [x.decode("utf-8", "replace") for x in lines],
                       "timeout": self.whole_timeout(), "when": "always"
                       if name == "after_script" else "on_success",
                       "allow_failure": name == "after_script"}
                      for name, lines in steps],
            "image": {"name": self.expanded_image(), "executor_opts": {}},
            "services": self.services or None, "artifacts": None,
            "cache": [], "credentials": [], "dependencies": None,
            "features": {"trace_sections": True,
                         "token_mask_prefixes": ["glpat-", "glcbt-"],
                         "failure_reasons": ["script_failure",
                                             "runner_system_failure",
                                             "job_execution_timeout",
                                             "runner_interrupted"]},
            "policy_options": {"execution_policy_job": False,
                               "policy_name": ""}})


def _expand(value, values):
    """$NAME and ${NAME} once, $$ stays a dollar, as the runner does it."""
    def replace(match):
        if match[0] == b"$$":
            return b"$"
        return values.get(match[1] or match[2], b"")
    return re.sub(rb"\$\$|\$\{(\w+)\}|\$(\w+)", replace, value)
