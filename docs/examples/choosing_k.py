"""Draw the picture of docs/choosing-k.md from its first example."""

import re
import sys
from pathlib import Path

page = Path(__file__).parent.parent / "choosing-k.md"
namespace: dict = {}
exec(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[0], namespace)
namespace["found"].plot().savefig(sys.argv[1], dpi=100)
