"""`aocr --completion SHELL`: a script that completes commands, flags and choices, made from the parser."""

from __future__ import annotations

import argparse

SCRIPT = r"""_aocr() {
  local words cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  case ${COMP_WORDS[1]} in
%s
  esac
  [ "$COMP_CWORD" = 1 ] && words="%s"
  case ${COMP_WORDS[1]}$prev in
%s
    *) [ "$COMP_CWORD" = 1 ] || [ "${cur#-}" != "$cur" ] || words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _aocr aocr
"""
SHELLS = {"bash": SCRIPT, "zsh": "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" + SCRIPT}


class Completion(argparse.Action):
    """Prints the script and exits."""

    def __call__(self, parser, namespace, values, option_string=None):  # noqa: D102 (argparse calls it)
        sub = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        flags, choices = [], []
        for name, command in sub.choices.items():
            flags.append(f'    {name}) words="{" ".join(command._option_string_actions)}" ;;')
            for action in command._actions:
                if action.choices and action.option_strings:
                    patterns = "|".join(name + flag for flag in action.option_strings)
                    choices.append(f'    {patterns}) words="{" ".join(map(str, action.choices))}" ;;')
        first = " ".join([*sub.choices, *parser._option_string_actions])
        print(SHELLS[values] % ("\n".join(flags), first, "\n".join(choices)), end="")
        parser.exit()
