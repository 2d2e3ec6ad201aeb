#include "cli/commands.hpp"

namespace roost::cli {
namespace {

// Each script asks `roostctl __complete WORD...` what may stand for the last word, so that it is never out of date.
constexpr const char* kBash = R"(# roostctl: completion for bash. source <(roostctl completion bash)
_roostctl() {
  local words=("${COMP_WORDS[@]:1:COMP_CWORD}") line
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = ":files" ]; then
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "${words[-1]}")
      return
    fi
    COMPREPLY+=("${line%%$'\t'*}")
  done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
}
complete -F _roostctl roostctl
)";

constexpr const char* kZsh = R"(#compdef roostctl
# roostctl: completion for zsh. source <(roostctl completion zsh)
_roostctl() {
  local -a found
  local line
  while IFS= read -r line; do
    if [[ $line == ":files" ]]; then
      _files
      return
    fi
    local word=${line%%$'\t'*} what=''
    [[ $line == *$'\t'* ]] && what=${line#*$'\t'}
    found+=("${word//:/\\:}:$what")
  done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  _describe 'roostctl' found
}
if [[ ${funcstack[1]} == _roostctl ]]; then
  _roostctl "$@"
else
  compdef _roostctl roostctl
fi
)";

constexpr const char* kFish = R"(# roostctl: completion for fish. roostctl completion fish | source
function __roostctl
  set -l words (commandline -opc) (commandline -ct)
  set -l found ($words[1] __complete $words[2..-1] 2>/dev/null)
  if test "$found[1]" = ":files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\n' $found
  end
end
complete -c roostctl -f -a '(__roostctl)'
)";

Status print(Run& run, const char* script) {
  run.terminal().out(script);
  return {};
}

}  // namespace

Status completion_bash(Run& run) { return print(run, kBash); }
Status completion_zsh(Run& run) { return print(run, kZsh); }
Status completion_fish(Run& run) { return print(run, kFish); }

}  // namespace roost::cli
