# ruff: noqa: E501
"""Chat templates that behave as those of Qwen's generations do, put together from what tells them apart.

Their rules are those of the model cards and of the `chat_template` in the tokenizer_config.json files of
Qwen2.5-7B-Instruct, Qwen3-8B, Qwen3-4B-Thinking-2507, Qwen3-Coder-30B-A3B-Instruct, Qwen3.5-2B, Qwen3.5-9B,
Qwen3.6-27B, Qwen3.8-27B and Qwen3.8-2.4T-A95B under https://huggingface.co/Qwen; the sentences that reach the
model are theirs, letter by letter.
"""

from __future__ import annotations

_HERMES = (
    "# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with "
    "function signatures within <tools></tools> XML tags:\\n<tools>"
)
_HERMES_END = (
    "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": '
    "<args-json-object>}\\n</tool_call><|im_end|>\\n"
)
_XML_END = (
    "\\n\\nIf you choose to call a function ONLY reply in the following format with NO suffix:\\n\\n<tool_call>"
    "\\n<function=example_function_name>\\n<parameter=example_parameter_1>\\nvalue_1\\n</parameter>\\n"
    "<parameter=example_parameter_2>\\nThis is the value for the second parameter\\nthat can span\\nmultiple "
    "lines\\n</parameter>\\n</function>\\n</tool_call>\\n\\n<IMPORTANT>\\nReminder:\\n- Function calls MUST follow "
    "the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\\n- Required parameters MUST be specified\\n- You may provide optional "
    "reasoning for your function call in natural language BEFORE the function call, but NOT after\\n- If there "
    "is no function call available, answer the question like normal with your current knowledge and do not tell "
    "the user about function calls\\n</IMPORTANT>"
)

# ---- Qwen2.5 and Qwen3: JSON calls ----

_TOOL_TURNS = (
    "{%- elif m.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}"
)


def _json_tools(before: str, otherwise: str) -> str:
    """Return the system turn: `before` the tools stands what is said there, `otherwise` what without them."""
    return (
        "{%- set first = messages[0].content if messages[0].role == 'system' else none %}"
        f"{{%- if tools %}}{{{{- '<|im_start|>system\\n' }}}}{before}{{{{- '{_HERMES}' }}}}"
        "{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}"
        f"{{{{- '{_HERMES_END}' }}}}{{%- else %}}{otherwise}{{%- endif %}}"
    )


_DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

QWEN25 = (
    f"{{%- set default = '{_DEFAULT}' %}}"
    + _json_tools(
        "{{- (default if first is none else first) + '\\n\\n' }}",
        "{{- '<|im_start|>system\\n' + (default if first is none else first) + '<|im_end|>\\n' }}",
    )
    + "{%- for m in messages %}"
    "{%- if m.role == 'user' or (m.role == 'system' and not loop.first)"
    " or (m.role == 'assistant' and not m.tool_calls) %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant' }}"
    "{%- if m.content %}{{- '\\n' + m.content }}{%- endif %}"
    "{%- for call in m.tool_calls %}{%- set call = call.function if call.function is defined else call %}"
    '{{- \'\\n<tool_call>\\n{"name": "\' + call.name + \'", "arguments": \' }}{{- call.arguments | tojson }}'
    "{{- '}\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}" + _TOOL_TURNS + "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

_LAST_QUERY = (
    "{%- set ns = namespace(seeking=true, query=messages|length - 1) %}"
    "{%- for m in messages[::-1] %}{%- if ns.seeking and m.role == 'user' %}"
    "{%- set said = TEXT %}"
    "{%- if not (said.startswith('<tool_response>') and said.endswith('</tool_response>')) %}"
    "{%- set ns.seeking = false %}{%- set ns.query = messages|length - 1 - loop.index0 %}"
    "{%- endif %}{%- endif %}{%- endfor %}"
)

_QWEN3 = (
    _json_tools(
        "{%- if first is not none %}{{- first + '\\n\\n' }}{%- endif %}",
        "{%- if first is not none %}{{- '<|im_start|>system\\n' + first + '<|im_end|>\\n' }}{%- endif %}",
    )
    + _LAST_QUERY.replace("TEXT", "m.content")
    + "{%- for m in messages %}"
    "{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- elif m.role == 'assistant' %}{%- set content = m.content %}{%- set thought = '' %}"
    "{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}"
    "{%- elif '</think>' in content %}"
    "{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if loop.index0 > ns.query and (loop.last or thought) %}"
    "{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}"
    "{%- else %}{{- content }}{%- endif %}"
    "{%- for call in m.tool_calls or [] %}"
    "{%- if content or not loop.first %}{{- '\\n' }}{%- endif %}"
    "{%- set call = call.function if call.function is defined else call %}"
    '{{- \'<tool_call>\\n{"name": "\' + call.name + \'", "arguments": \' }}'
    "{{- call.arguments if call.arguments is string else call.arguments | tojson }}"
    "{{- '}\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}"
    + _TOOL_TURNS
    + "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}OPEN"
    "{%- endif %}"
)
QWEN3 = _QWEN3.replace(
    "OPEN",
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
)
QWEN3_2507_THINKING = _QWEN3.replace("OPEN", "{{- '<think>\\n' }}")

# ---- Qwen3-Coder: XML calls, the tools in XML too ----

# The template of August 2025. That of July, which early conversions hold, has no heading over the tools, and
# writes lists with backticks.
_AS_TEXT = (
    "value | tojson if value is mapping or (value is sequence and value is not string) else value | string"
)
_MORE_KEYS = (
    "{%- macro more(fields, told) %}{%- if fields is mapping %}"
    "{%- for key in fields if key not in told %}{%- set value = fields[key] %}{{- '\\n<' ~ key ~ '>' }}"
    f"{{{{- {_AS_TEXT} }}}}{{{{- '</' ~ key ~ '>' }}}}{{%- endfor %}}{{%- endif %}}{{%- endmacro %}}"
)
QWEN3_CODER = (
    _MORE_KEYS + "{%- set first = messages[0].content if messages[0].role == 'system' else none %}"
    "{%- set turns = messages if first is none else messages[1:] %}"
    "{%- if first is not none %}{{- '<|im_start|>system\\n' + first }}"
    "{%- elif tools %}{{- '<|im_start|>system\\nYou are Qwen, a helpful AI assistant that can interact with a "
    "computer to solve tasks.' }}{%- endif %}"
    "{%- if tools %}{{- '\\n\\n# Tools\\n\\nYou have access to the following functions:\\n\\n<tools>' }}"
    "{%- for tool in tools %}{%- set tool = tool.function if tool.function is defined else tool %}"
    "{{- '\\n<function>\\n<name>' ~ tool.name ~ '</name>' }}"
    "{%- if tool.description is defined %}"
    "{{- '\\n<description>' ~ (tool.description | trim) ~ '</description>' }}{%- endif %}"
    "{{- '\\n<parameters>' }}"
    "{%- if tool.parameters is mapping and tool.parameters.properties is mapping %}"
    "{%- for name, fields in tool.parameters.properties|items %}"
    "{{- '\\n<parameter>\\n<name>' ~ name ~ '</name>' }}"
    "{%- if fields.type is defined %}{{- '\\n<type>' ~ fields.type ~ '</type>' }}{%- endif %}"
    "{%- if fields.description is defined %}"
    "{{- '\\n<description>' ~ (fields.description | trim) ~ '</description>' }}{%- endif %}"
    "{{- more(fields, ['name', 'type', 'description']) }}{{- '\\n</parameter>' }}{%- endfor %}{%- endif %}"
    "{{- more(tool.parameters, ['type', 'properties']) }}{{- '\\n</parameters>' }}"
    "{{- more(tool, ['type', 'name', 'description', 'parameters']) }}{{- '\\n</function>' }}{%- endfor %}"
    f"{{{{- '\\n</tools>{_XML_END}' }}}}{{%- endif %}}"
    "{%- if tools or first is not none %}{{- '<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in turns %}"
    "{%- if m.role == 'assistant' and m.tool_calls %}{{- '<|im_start|>assistant' }}"
    "{%- if m.content is string and m.content | trim %}{{- '\\n' + (m.content | trim) + '\\n' }}{%- endif %}"
    "{%- for call in m.tool_calls %}{%- set call = call.function if call.function is defined else call %}"
    "{{- '\\n<tool_call>\\n<function=' + call.name + '>\\n' }}"
    "{%- for name, value in call.arguments|items %}{{- '<parameter=' + name + '>\\n' }}"
    f"{{{{- {_AS_TEXT} }}}}{{{{- '\\n</parameter>\\n' }}}}{{%- endfor %}}"
    "{{- '</function>\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}"
    "{%- elif m.role == 'tool' %}"
    "{%- if loop.previtem and loop.previtem.role != 'tool' %}{{- '<|im_start|>user\\n' }}{%- endif %}"
    "{{- '<tool_response>\\n' + m.content + '\\n</tool_response>\\n' }}"
    "{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

# ---- Qwen3.5 and later: XML calls, pictures, strict about the order of turns ----

_SHOWING = (
    "{%- set seen = namespace(pictures=0, videos=0) %}"
    "{%- macro render(content, counts, system=false) %}{%- if content is string %}{{- content }}"
    "{%- elif content is iterable and content is not mapping %}{%- for item in content %}"
    "{%- if 'image' in item or 'image_url' in item or item.type == 'image' %}"
    "{%- if system %}{{- raise_exception('System message cannot contain images.') }}{%- endif %}"
    "{%- if counts %}{%- set seen.pictures = seen.pictures + 1 %}{%- endif %}"
    "{%- if add_vision_id %}{{- 'Picture ' ~ seen.pictures ~ ': ' }}{%- endif %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif 'video' in item or item.type == 'video' %}"
    "{%- if system %}{{- raise_exception('System message cannot contain videos.') }}{%- endif %}"
    "{%- if counts %}{%- set seen.videos = seen.videos + 1 %}{%- endif %}"
    "{%- if add_vision_id %}{{- 'Video ' ~ seen.videos ~ ': ' }}{%- endif %}"
    "{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif 'text' in item %}{{- item.text }}"
    "{%- else %}{{- raise_exception('Unexpected item type in content.') }}{%- endif %}{%- endfor %}"
    "{%- elif content is none or content is undefined %}{{- '' }}"
    "{%- else %}{{- raise_exception('Unexpected content type.') }}{%- endif %}{%- endmacro %}"
    "{%- if not messages %}{{- raise_exception('No messages provided.') }}{%- endif %}"
)


def _since_35(*, keeps: str, opens: str, value: str, effort: str = "", own_thought: str, begins: str) -> str:
    """Return a template of 3.5 or later.

    `keeps` is when past thinking is written, `own_thought` where it is read from, `opens` how the answer
    begins, `value` how an argument is written, `effort` sets `instructions`, which open the
    system turn; `begins` is when there is one without tools.
    """
    return (
        _SHOWING + (effort or "{%- set instructions = '' %}") + "{%- set system = '' %}"
        "{%- if messages[0].role == 'system' %}"
        "{%- set system = render(messages[0].content, false, true)|trim %}{%- endif %}"
        "{%- if tools %}{{- '<|im_start|>system\\n' }}"
        "{%- if instructions %}{{- instructions + '\\n\\n' }}{%- endif %}"
        "{{- '# Tools\\n\\nYou have access to the following functions:\\n\\n<tools>' }}"
        "{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}"
        f"{{{{- '\\n</tools>{_XML_END}' }}}}"
        "{%- if system %}{{- '\\n\\n' + system }}{%- endif %}{{- '<|im_end|>\\n' }}"
        f"{{%- elif {begins} %}}{{{{- '<|im_start|>system\\n' + instructions }}}}"
        "{{- ('\\n\\n' if instructions and system else '') + system + '<|im_end|>\\n' }}{%- endif %}"
        + _LAST_QUERY.replace("TEXT", "render(m.content, false)|trim")
        + "{%- if ns.seeking %}{{- raise_exception('No user query found in messages.') }}{%- endif %}"
        "{%- for m in messages %}{%- set content = render(m.content, true)|trim %}"
        "{%- if m.role == 'system' %}{%- if not loop.first %}"
        "{{- raise_exception('System message must be at the beginning.') }}{%- endif %}"
        "{%- elif m.role == 'user' %}{{- '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}"
        "{%- elif m.role == 'assistant' %}{%- set thought = '' %}"
        f"{own_thought}{{%- set thought = thought|trim %}}"
        "{{- '<|im_start|>assistant\\n' }}"
        f"{{%- if {keeps} %}}{{{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}}}{{%- endif %}}{{{{- content }}}}"
        "{%- for call in m.tool_calls or [] %}"
        "{%- set call = call.function if call.function is defined else call %}"
        "{{- ('\\n\\n' if content|trim else '') if loop.first else '\\n' }}"
        "{{- '<tool_call>\\n<function=' + call.name + '>\\n' }}"
        "{%- for name, value in call.arguments|items %}{{- '<parameter=' + name + '>\\n' }}"
        f"{{{{- {value} }}}}{{{{- '\\n</parameter>\\n' }}}}{{%- endfor %}}"
        "{{- '</function>\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}"
        "{%- elif m.role == 'tool' %}"
        "{%- if loop.previtem and loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}"
        "{{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}"
        "{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}"
        "{%- else %}{{- raise_exception('Unexpected message role.') }}{%- endif %}{%- endfor %}"
        f"{{%- if add_generation_prompt %}}{{{{- '<|im_start|>assistant\\n' }}}}{opens}{{%- endif %}}"
    )


_SPLITS = (
    "{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}"
    "{%- elif '</think>' in content %}"
    "{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
)
_READS = "{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}{%- endif %}"
_ON = (
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- else %}{{- '<think>\\n' }}{%- endif %}"
)
_OFF = (
    "{%- if enable_thinking is defined and enable_thinking is true %}{{- '<think>\\n' }}"
    "{%- else %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
)
_NEVER_OFF = (
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- raise_exception('Disabling thinking is not supported.') }}{%- endif %}{{- '<think>\\n' }}"
)
_AS_JSON = "value if value is string else value | tojson"
_EFFORT = (
    "{%- set instructions = '' %}"
    "{%- if enable_thinking is undefined or enable_thinking is true %}"
    "{%- set effort = reasoning_effort|default('xhigh') %}"
    "{%- if effort not in ('xhigh', 'medium', 'low') %}{{- raise_exception('Unexpected reasoning effort ' ~ "
    "reasoning_effort ~ '. Supported types are xhigh (default), medium, and low.') }}{%- endif %}"
    "{%- if effort == 'xhigh' %}{%- set instructions = 'Reasoning effort is set to xhigh. Please think carefully "
    "through the task, validate key assumptions, consider plausible alternatives, and prioritize correctness, "
    "consistency, and clarity in the final answer.' %}"
    "{%- elif effort == 'low' %}{%- set instructions = 'Reasoning effort is set to low. Keep your thinking brief "
    "and focused, moving directly to the conclusion without unnecessary elaboration.' %}{%- endif %}"
    "{%- endif %}"
)
_SAID = "messages[0].role == 'system'"
_LATER = "loop.index0 > ns.query"
_KEPT = "preserve_thinking is undefined or preserve_thinking is true or loop.index0 > ns.query"

QWEN35_2B = _since_35(keeps=_LATER, opens=_OFF, value=_AS_TEXT, own_thought=_SPLITS, begins=_SAID)
QWEN35_9B = _since_35(keeps=_LATER, opens=_ON, value=_AS_TEXT, own_thought=_SPLITS, begins=_SAID)
QWEN36 = _since_35(
    keeps="(preserve_thinking is defined and preserve_thinking is true) or loop.index0 > ns.query",
    opens=_ON,
    value=_AS_JSON,
    own_thought=_SPLITS,
    begins=_SAID,
)
QWEN38 = _since_35(
    keeps=_KEPT,
    opens=_ON,
    value=_AS_JSON,
    effort=_EFFORT,
    own_thought=_READS,
    begins="system or instructions",
)
QWEN38_MAX = _since_35(
    keeps=_KEPT,
    opens=_NEVER_OFF,
    value=_AS_JSON,
    effort=_EFFORT,
    own_thought=_READS,
    begins="system or instructions",
)

TEMPLATES = {
    "qwen2.5": QWEN25,
    "qwen3": QWEN3,
    "qwen3-2507-thinking": QWEN3_2507_THINKING,
    "qwen3-coder": QWEN3_CODER,
    "qwen3.5-2b": QWEN35_2B,
    "qwen3.5-9b": QWEN35_9B,
    "qwen3.6": QWEN36,
    "qwen3.8": QWEN38,
}
