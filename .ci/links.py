"""Every relative link in the project's Markdown leads to a file that is there."""

import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=root, capture_output=True, text=True, check=True)
broken = []
for name in listed.stdout.split():
    page = root / name
    if not page.exists():
        continue
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
            broken.append(f"{name}: {target}")
print("\n".join(broken) or "all links lead somewhere")
sys.exit(bool(broken))
