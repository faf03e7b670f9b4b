// SPDX-License-Identifier: Apache-2.0
// Kubeflow's own answer to a compiled pipeline: what its API server 2.17.0 does when a run is started, without a cluster.
//
//	go run . [-parameters JSON] [-namespace NAME] pipeline.yaml
//
// It reads the pipeline spec and the platform spec, checks the run's parameters, compiles both into an Argo Workflow, has
// Argo validate that and prints it as YAML. A refusal is printed on standard error, and the exit status is 1.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/kubeflow/pipelines/backend/src/apiserver/common"
	"github.com/kubeflow/pipelines/backend/src/apiserver/config/proxy"
	"github.com/kubeflow/pipelines/backend/src/apiserver/model"
	"github.com/kubeflow/pipelines/backend/src/apiserver/template"
	"sigs.k8s.io/yaml"
)

const runID = "00000000-0000-0000-0000-000000000000"

func main() {
	parameters := flag.String("parameters", "{}", "the run's parameters, a JSON object")
	namespace := flag.String("namespace", "kubeflow", "namespace of the run")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	workflow, err := compile(flag.Arg(0), *parameters, *namespace)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(workflow)
}

// compile goes the way of the API server's CreatePipelineVersion and CreateRun.
func compile(path, parameters, namespace string) ([]byte, error) {
	manifest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	proxy.InitializeConfigWithEmptyForTests()
	pipeline, err := template.New(manifest, template.TemplateOptions{})
	if err != nil {
		return nil, err
	}
	if err := common.ValidatePipelineName(pipeline.V2PipelineName()); err != nil {
		return nil, err
	}
	run := &model.Run{
		DisplayName:  "test",
		Namespace:    namespace,
		PipelineSpec: model.PipelineSpec{RuntimeConfig: model.RuntimeConfig{Parameters: model.LargeText(parameters)}},
	}
	workflow, err := pipeline.RunWorkflow(run, template.RunWorkflowOptions{RunID: runID})
	if err != nil {
		return nil, err
	}
	if err := workflow.Validate(false, false); err != nil {
		return nil, err
	}
	return yaml.JSONToYAML([]byte(workflow.ToStringForStore()))
}
